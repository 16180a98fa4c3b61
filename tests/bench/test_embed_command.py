"""`python -m benchmarks.embed` at tiny sizes, and what a user can do wrong."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest

from benchmarks.embed.__main__ import main
from benchmarks.embed.forward import BARE, EMBED
from benchmarks.embed.memory import Peak
from benchmarks.embed.run import LEAST, verdicts
from benchmarks.memory import Looks
from tests.conftest import invoke

run_main = partial(invoke, program=main)


pytestmark = pytest.mark.usefixtures("own_threads")


def test_it_runs_and_says_that_its_figures_mean_nothing(ray_cluster, tmp_path):
    words = ("--backbones", "resnet10t", "--rounds", "2", "--patches", "16", "--quick")
    result = run_main("--out", tmp_path / "out", *words, "--markdown", tmp_path / "embed.md")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    [rate] = summary["rates"]
    assert set(rate["seconds"]) == {BARE, EMBED}
    assert rate["patches"] >= 16
    few, many = summary["memory"]
    assert many["patches"] == 2 * few["patches"]
    assert few["peak_mb"] > 10
    assert "the figures mean nothing" in result.output
    assert f"`{summary['invocation']}`" in (tmp_path / "embed.md").read_text()


def test_the_peak_is_the_largest_that_was_seen():
    sizes = iter([5, 9, 7])
    peak = Peak(lambda: next(sizes, 1))
    seen = threading.Semaphore(0)

    def look():
        peak.look()
        seen.release()

    with Looks(look, every=0.01):
        for _ in range(4):
            assert seen.acquire(timeout=60)
    assert peak.bytes == 9


@pytest.mark.parametrize(("share", "peak", "found"), [(LEAST, 110, "reached"), (LEAST - 0.01, 111, "not reached")])
def test_targets_are_judged_by_medians(share, peak, found):
    rates = [{"backbone": "resnet18", "share": {"median": share}}]
    memory = [{"patches": 100, "peak_mb": 100.0}, {"patches": 800, "peak_mb": peak - 0.001 if peak == 110 else peak}]
    assert [one.verdict for one in verdicts(rates, memory)] == [found, found]


def test_what_a_user_can_do_wrong(tmp_path):
    assert run_main("--out", tmp_path, "--rounds", "0").exit_code == 2
    result = run_main("--out", tmp_path / "new", "--backbones", "resnet18,nothing")
    assert result.exit_code == 2
    assert "nothing" in result.output
    (tmp_path / "other").touch()
    assert run_main("--out", tmp_path, "--quick").exit_code == 2

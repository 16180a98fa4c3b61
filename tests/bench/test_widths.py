"""`python -m benchmarks.widths`: which trainings it does, how its page compares them, and what a user can do wrong."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest

from benchmarks.evidence.pool import GROUPS, HELD
from benchmarks.widths.__main__ import main
from benchmarks.widths.page import page
from benchmarks.widths.run import FROZEN, MEASURES, SETTINGS, Options, cell, tasks_of
from tests.conftest import invoke

POOL = Path(os.environ.get("WSC_RAY_COHORTS", "/nonexistent")) / "pcam-pool" / "patches.parquet"
WEIGHTS = Path(os.environ.get("WSC_RAY_WEIGHTS", "/nonexistent")) / "tf_efficientnet_lite0"
run_main = partial(invoke, program=main)


def test_held_out_groups_are_of_the_part_that_trains():
    held = [group for pair in HELD for group in pair]
    assert len(set(held)) == len(held)
    assert set(held) < set(GROUPS)


def test_every_method_is_trained_as_often_and_the_frozen_features_are_measured_once():
    tasks = list(tasks_of(Options(widths=(2, 8), seeds=2)))
    assert len({task.name for task in tasks}) == len(tasks) == len(HELD) * (1 + 2 * 2 * len(SETTINGS))
    assert [task.width for task in tasks if task.method == FROZEN] == [None] * len(HELD)


def test_the_page_pairs_groups_and_seeds():
    def figure(task):
        """WeakSupCon is 0.1 ahead of SimCLR, but for one training, and 0.2 of SupCon."""
        value = 0.7 + 0.01 * task.held - {"simclr": 0.1, "supcon": 0.2}.get(task.method, 0.0)
        return value + (0.15 if (task.method, task.held, task.seed) == ("simclr", 1, 1) else 0)

    options = Options(widths=(2,), seeds=2)
    results = [
        {"method": task.method, "width": task.width, **dict.fromkeys(MEASURES, figure(task))}
        for task in tasks_of(options)
    ]
    assert cell(results, "supcon", 2, "linear") == pytest.approx([0.5, 0.5, 0.51, 0.51, 0.52, 0.52])
    summary = {
        "options": {"views": 8, "pairs": 60, "held_pairs": 200, "seeds": 2, "widths": [2]},
        "pixels": 64,
        "invocation": "python -m benchmarks.widths",
        "machine": {"cpu": "c", "cores": 2, "threads": 2, "memory_gb": 1, "os": "o", "python": "3"},
        "versions": {},
        "commit": "c",
    }
    text = page(summary, results)
    assert len(re.findall(r"\| 2 +\| \+0\.075, 5 of 6 +\| \+0\.200, 6 of 6 +\|", text)) == len(MEASURES)
    assert "The frozen features, 1280 numbers: 0.710 (0.700-0.720)." in text


@pytest.mark.parametrize(("widths", "said"), [("2,no", "write whole numbers"), ("0", "from 1 on")])
def test_what_a_user_can_do_wrong(tmp_path, widths, said):
    (tmp_path / "pool.parquet").write_bytes(b"no Parquet")
    words = ("--pool", tmp_path / "pool.parquet", "--weights", tmp_path, "--out", tmp_path / "out")
    told = run_main(*words, "--widths", widths)
    assert told.exit_code == 2
    assert said in told.output
    assert not (tmp_path / "out").exists()
    assert run_main(*words).exit_code == 2


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(not POOL.is_file() or not WEIGHTS.is_dir(), reason="WSC_RAY_COHORTS or WSC_RAY_WEIGHTS lacks them")
def test_a_run_goes_on_where_it_was_interrupted(ray_cluster, tmp_path):
    words = ("--pool", POOL, "--weights", WEIGHTS, "--out", tmp_path / "out", "--processes", "1", "--quick")
    first = run_main(*words)
    assert first.exit_code == 0, first.output
    (tmp_path / "out" / "runs" / "simclr-2-1-0.json").unlink()
    again = run_main(*words)
    assert again.exit_code == 0
    assert "1/1" in again.output
    assert again.output.endswith(first.output[first.output.index("# What few") :])

"""`python -m benchmarks.loss` at tiny sizes, on one process and on two, and what a user can do wrong."""

import json
import shlex
import subprocess
import sys
from functools import partial

import pytest

from benchmarks.loss import contenders, run
from benchmarks.loss.__main__ import main
from benchmarks.loss.batch import PARTS
from tests.conftest import ROOT, invoke

run_main = partial(invoke, program=main)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    result = run_main(
        *("--out", folder / "out", "--batches", "32", "--processes", "1,2", "--dim", "8", "--repeats", "2"),
        *("--threads", "2", "--memory-limit", "1", "--markdown", folder / "loss.md"),
    )
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "out" / "summary.json").read_text()), (folder / "loss.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    patch = pytest.MonkeyPatch()
    patch.setattr(run, "usable_cores", lambda: 2)
    yield
    patch.undo()


def test_the_summary(done):
    _, summary, _ = done
    assert summary["command"] == "benchmarks.loss"
    assert summary["results"]
    for row in summary["results"]:
        assert set(row) == {"name", "value", "unit", "baseline", "ratio"}
        assert row["unit"] in ("s", "MB")
        if row["unit"] == "s":
            assert min(row["value"], row["baseline"], row["ratio"]) > 0
        else:  # so few patches may need no page of memory more
            assert min(row["value"], row["baseline"]) >= 0
    assert len({row["name"] for row in summary["results"]}) == len(summary["results"])
    cases = {(one["part"], one["processes"]) for one in summary["measurements"]}
    assert cases == {(part, count) for part in PARTS for count in (1, 2)}
    for one in summary["measurements"]:
        assert one["status"] == "measured"
        assert one["rounds"] == 2
        assert one["seconds"]["q1"] <= one["seconds"]["median"] <= one["seconds"]["q3"]
    assert summary["machine"]["threads"] == 2
    assert summary["versions"]["torch"]
    assert summary["commit"] is None or len(summary["commit"].removesuffix("+changes")) == 40
    words = shlex.split(summary["invocation"])
    assert words[:3] == ["python", "-m", "benchmarks.loss"]
    assert words[words.index("--processes") + 1] == "1,2"
    assert {one["verdict"] for one in summary["targets"]} == {"not measured"}


def test_the_tables_are_printed_and_the_page_holds_them(done):
    result, summary, page = done
    assert summary["table"] in result.stdout
    assert page.startswith("# ")
    for text in ("## One process", "## 2 processes", summary["invocation"], summary["machine"]["cpu"], "restatement"):
        assert text in page
    for table in (line for line in summary["table"].splitlines() if line.startswith("| 32 ")):
        assert table in page
    assert "benchmarks.loss: 8/8 cases" in result.stderr


def test_libraries_that_are_installed_have_rows(done):
    _, summary, _ = done
    for name, module in contenders.PACKAGES.items():
        pytest.importorskip(module)
        rows = [row for row in summary["results"] if name in row["name"]]
        assert len(rows) == {"lightly": 4, "pytorch-metric-learning": 8}[name]


def test_a_library_that_is_missing_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(contenders.PACKAGES, contenders.LIGHTLY, "a_package_that_nobody_has")
    monkeypatch.setattr(run, "PARTS", ("contrastive",))
    result = run_main("--out", tmp_path / "out", "--batches", "8", "--processes", "1", "--dim", "4", "--repeats", "1")
    assert result.exit_code == 0
    assert "lightly is not installed, so that its rows are left out: pip install '.[bench]'" in result.stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert all(one["contender"] != "lightly" for one in summary["measurements"])


def test_an_earlier_benchmark_is_replaced_and_anything_else_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "PARTS", ())
    assert run_main("--out", tmp_path / "out").exit_code == 0
    assert run_main("--out", tmp_path / "out").exit_code == 0
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.doc").write_text("years of work")
    (tmp_path / "file").write_text("")
    for out in ("taken", "file", "file/below"):
        result = run_main("--out", tmp_path / out)
        assert result.exit_code == 2, out
        assert result.stderr.startswith("python -m benchmarks.loss: ")
    result = run_main("--out", tmp_path / "new", "--markdown", tmp_path / "taken")
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batches", "many"], "--batches many: write whole numbers"),
        (["--batches", ""], "whole numbers"),
        (["--batches", "510", "--processes", "2"], "--batches 510"),
        (["--batches", "4", "--processes", "2"], "--batches 4"),
        (["--batches", "-8", "--processes", "1"], "--batches -8"),
        (["--processes", "0"], "--processes must be 1 or more"),
        (["--processes", "1;2"], "--processes 1;2"),
        (["--dim", "0"], "--dim must be 1 or more"),
        (["--repeats", "0"], "--repeats must be 1 or more"),
        (["--threads", "1", "--processes", "2"], "--threads 1"),
        (["--threads", "1000"], "--threads 1000"),
        (["--memory-limit", "0"], "--memory-limit 0"),
        (["--memory-limit", "1e6"], "--memory-limit 1e+06"),
        (["--memory-limit", "nan"], "--memory-limit nan"),
        (["--out", "s3://bucket/bench"], "not a URI"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_leaves_nothing(tmp_path, options, said):
    result = run_main("--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("python -m benchmarks.loss: ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_it_runs_from_a_clone():
    """As a program of its own, which `invoke` leaves out."""
    command = [sys.executable, "-m", "benchmarks.loss", "--out", "s3://bucket/bench"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m benchmarks.loss: s3://bucket/bench: --out is a folder"), done.stderr

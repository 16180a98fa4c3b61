"""`python -m benchmarks.data` at tiny sizes, and what a user can do wrong."""

import json
import shlex
import subprocess
import sys
from functools import partial

import pytest

from benchmarks.data.__main__ import main
from benchmarks.data.contenders import ALONE, DECODING, NAMES, RAY, REFERENCE
from tests.conftest import ROOT, invoke
from wsc_ray.bench.environment import usable_cores

ROUNDS = 2
CORES = min(2, usable_cores())

run_main = partial(invoke, program=main)


@pytest.fixture(scope="module")
def done(ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    result = run_main(
        *("--out", folder / "out", "--quick", "--batch-size", "32", "--rounds", ROUNDS, "--cores", CORES),
        *("--planning", "--markdown", folder / "data.md"),
    )
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "out" / "summary.json").read_text()), (folder / "data.md").read_text()


def test_the_results_have_a_row_for_everything_that_is_asked(done):
    _, summary, _ = done
    assert summary["command"] == "benchmarks.data"
    rows = {row["name"]: row for row in summary["results"]}
    assert len(rows) == len(summary["results"])
    for row in rows.values():
        assert set(row) == {"name", "value", "unit", "baseline", "ratio"}
        assert row["value"] >= 0
        assert (row["baseline"] is None) == (row["ratio"] is None)
    for other in (REFERENCE, DECODING, ALONE):
        for unit in ("patches/s/core", "patches/CPU s"):
            row = rows[f"{RAY}, against {other}: {unit}"]
            assert row["unit"] == unit
            assert min(row["value"], row["baseline"], row["ratio"]) > 0
    assert 0 <= rows["training: share of the time spent waiting for data"]["value"] <= 1
    for name in ("training: patches/s", "first batch from a warm Ray", "planning by patch: time"):
        assert rows[name]["value"] > 0


def test_every_round_is_a_sample_of_everybody_over_the_same_number_of_patches(done):
    _, summary, _ = done
    assert set(summary["samples"]) == set(NAMES)
    for samples in summary["samples"].values():
        assert len(samples) == ROUNDS
        assert len({sample["patches"] for sample in samples}) == 1
        assert all(min(sample.values()) > 0 for sample in samples)
    patches = {name: samples[0]["patches"] for name, samples in summary["samples"].items()}
    settings = summary["settings"]
    window = settings["window"] * settings["batch_size"]
    assert patches[RAY] == patches[ALONE] == CORES * settings["waves"] * window
    assert patches[DECODING] == CORES * settings["decoded"]
    assert patches[REFERENCE] == CORES * settings["batches"] * settings["batch_size"]


def test_what_it_ran_on_and_how_to_repeat_it(done):
    _, summary, _ = done
    assert summary["machine"]["threads"] == CORES
    assert summary["versions"]["torchvision"]
    assert summary["facts"]["patches"] == 64
    words = shlex.split(summary["invocation"])
    assert words[:3] == ["python", "-m", "benchmarks.data"]
    assert words[words.index("--rounds") + 1] == str(ROUNDS)
    assert "--planning" in words
    assert {one["verdict"] for one in summary["targets"]} == {"not measured"}  # of tiny sizes nothing is judged


def test_the_tables_are_printed_and_the_page_holds_them(done):
    result, summary, page = done
    assert summary["table"] in result.stdout
    assert page.startswith("# ")
    for text in (*NAMES, "## Targets", summary["invocation"], summary["machine"]["cpu"], "planning 20,000 rows"):
        assert text in page
    for line in (line for line in summary["table"].splitlines() if line.startswith("|")):
        assert line in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch-size", "7"], "--batch-size must be an even number"),
        (["--batch-size", "2"], "--batch-size must be an even number"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--cores", "0"], "--cores 0"),
        (["--cores", "100000"], "--cores 100000"),
        (["--out", "s3://bucket/bench"], "not a URI"),
        (["--manifest", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    result = run_main("--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("python -m benchmarks.data: ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_cluster_is_not_what_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    result = run_main("--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "RAY_ADDRESS" in result.stderr
    assert not list(tmp_path.iterdir())


def test_it_runs_from_a_clone():
    """As a program of its own, which `invoke` leaves out."""
    command = [sys.executable, "-m", "benchmarks.data", "--out", "s3://bucket/bench"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m benchmarks.data: s3://bucket/bench: --out is a folder"), done.stderr

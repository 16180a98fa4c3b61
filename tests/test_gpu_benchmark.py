"""`benchmarks/gpu.sh` on a machine without a GPU: every part runs with tiny sizes, and its figures say that they mean nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("checks", "step", "pipeline", "views", "losses", "mil", "decode", "evidence")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    out = tmp_path_factory.mktemp("gpu")
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", "benchmarks/gpu.sh", "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True), out


def test_every_part_runs_to_its_end_and_says_that_its_figures_mean_nothing(run):
    done, out = run
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "figures mean nothing" in done.stdout
    for name in PARTS:
        assert f"{name}: done" in done.stdout
        assert json.loads((out / f"{name}.json").read_text())
        assert f"## {name}" in (out / "gpu.md").read_text()


def test_the_losses_and_the_formula_agree(run):
    rows = json.loads((run[1] / "losses.json").read_text())["rows"]
    assert all(row["apart"] < 1e-5 for row in rows)


def test_other_ways_of_making_views_give_the_same_but_for_roundings(run):
    rows = json.loads((run[1] / "views.json").read_text())["rows"]
    assert all(row["most_apart"] <= 1 and row["share_apart"] < 0.001 for row in rows), rows


def test_the_marked_tests_pass_on_a_cpu_too(run):
    checks = json.loads((run[1] / "checks.json").read_text())
    assert checks["passed"] > 50
    assert "failed" not in checks
    assert checks["failed_tests"] == []


def test_a_part_that_does_not_exist_is_a_sentence(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path), "--parts", "stpe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no stpe" in done.stderr


def test_what_does_not_fit_into_the_time_is_left_out_and_said(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--out",
        str(tmp_path),
        "--parts",
        "mil,losses",
        "--seconds",
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "mil: left out" in done.stdout
    assert not (tmp_path / "mil.json").exists()

"""The real cohort through the commands alone, in a shorter form than the README's figures."""

import json
from pathlib import Path

import pytest

from tests.conftest import COHORTS

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(COHORTS or "/nonexistent") / "pcam" / "patches.parquet"


@pytest.mark.skipif(not TABLE.is_file(), reason="WSC_RAY_COHORTS names no folder with pcam/patches.parquet")
def test_real_patches_go_the_whole_way(ray_cluster, wsc_ray_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = [
        "--set",
        "train.epochs=2",
        "--set",
        "train.steps_per_epoch=10",
        "--set",
        "tune.trials=2",
        "--set",
        "tune.epochs=10",
    ]
    commands = [
        ["manifest", "import", TABLE, "--out", "pcam", "--column", "label=slide_label"],
        ["manifest", "check", "pcam", "--all"],
        ["pretrain", ROOT / "jobs/recipes/pcam-cpu.yaml", "--set", "data.manifest=pcam", "--out", "run", *short],
        ["embed", "--run", "run"],
        ["tune", "--run", "run"],
        ["evaluate", "--run", "run"],
    ]
    commands[0] += ["--label", "0=negative", "--label", "1=positive"]
    for command in commands:
        status, text = wsc_ray_command(*command)
        assert status == 0, text
    summary = json.loads((tmp_path / "run" / "evaluate" / "summary.json").read_text())
    assert summary["slides"] == 64
    for metric in summary["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert summary["attention"]["slides"] == 32

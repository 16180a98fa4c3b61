"""The real cohort through the commands alone, in a shorter form than the figures of benchmarks/pcam.md."""

import json
import zlib
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
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
    for name, metric in summary["metrics"].items():
        # Redrawn slides are always a little worse calibrated, so that the interval of `ece` may lie above it: docs/statistics.md.
        assert metric["low"] <= metric["value"] or name == "ece", name
        assert metric["value"] <= metric["high"], name
    assert summary["attention"]["slides"] == 32
    another_target_through_a_csv(wsc_ray_command, tmp_path)


def another_target_through_a_csv(wsc_ray_command, folder: Path) -> None:
    """Another target (made up, but for `none`) and other folds, over the same patches and features."""
    patches = sorted((folder / "pcam" / "patches").iterdir())
    before = [path.read_bytes() for path in patches]
    rows = pq.read_table(TABLE, columns=["slide_id", "patient_id", "patch_label"]).to_pandas()
    slides = rows.groupby("slide_id").agg(patient=("patient_id", "first"), share=("patch_label", "mean"))
    grade = [
        "none" if not share else ("little", "much")[zlib.crc32(s.encode()) % 2] for s, share in slides.share.items()
    ]
    fold = slides.patient.map(
        lambda patient: ("train", "train", "train", "val", "test")[zlib.crc32(patient.encode()) % 5]
    )
    pd.DataFrame({"slide_id": slides.index, "grade": grade, "fold_0": fold}).to_csv(folder / "grades.csv", index=False)
    data = ["data.cohort=grades.csv", "data.target=grade", "data.split_column=fold_0", "data.pure=[none]"]
    settings = [part for each in data for part in ("--set", each)]
    short = [
        "--set",
        "train.epochs=2",
        "--set",
        "train.steps_per_epoch=4",
        "--set",
        "tune.trials=2",
        "--set",
        "tune.epochs=5",
    ]
    commands = [
        [
            "pretrain",
            ROOT / "jobs/recipes/pcam-cpu.yaml",
            "--set",
            "data.manifest=pcam",
            "--out",
            "graded",
            *settings,
            *("--set", "train.workers=1"),
            *short,
        ],
        ["tune", "--run", "run", "--out", "tuned", *settings, *short[4:]],
        ["evaluate", "--run", "run", "--head", "tuned", "--out", "measured", *settings],
    ]
    for command in commands:
        status, text = wsc_ray_command(*command)
        assert status == 0, text
    assert json.loads((folder / "graded" / "summary.json").read_text())["labels"] == {
        "pure": ["none"],
        "mixed": ["little", "much"],
    }
    found = json.loads((folder / "measured" / "summary.json").read_text())
    assert found["classes"] == ["none", "little", "much"]
    assert found["slides"] == int((fold == "test").sum())
    assert [path.read_bytes() for path in patches] == before

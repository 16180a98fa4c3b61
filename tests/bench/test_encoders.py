"""`python -m benchmarks.encoders`: its page, what it refuses, and a quick run where patches and weights are there."""

import json
import os
from pathlib import Path

import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from benchmarks.encoders.__main__ import main
from benchmarks.encoders.page import page
from benchmarks.encoders.run import ENCODERS, adapter_recipe, recipe_of

PATCHES = Path(os.environ.get("WSC_RAY_COHORTS", "none"), "pcam", "patches.parquet")
WEIGHTS = Path(os.environ.get("WSC_RAY_WEIGHTS", "none"), "tf_efficientnet_lite0")


def test_arms_differ_in_their_method_only(tmp_path):
    one, other = (
        adapter_recipe(tmp_path, method, quick=False).model_dump(exclude={"loss": {"method"}})
        for method in ("weaksupcon", "simclr")
    )
    assert one == other


def test_the_page_has_every_pair_of_encoders_and_every_fold(tmp_path):
    metric = {"value": 0.8, "low": 0.7, "high": 0.9}
    names = ("auroc", "balanced_accuracy", "auprc", "brier")
    result = {"slides": 20, "metrics": dict.fromkeys(names, metric), "attention": {"auroc": metric}}
    differences = [
        {"a": f"/imagenet/{a}/evaluate", "b": f"/imagenet/{b}/evaluate", "metric": "auroc", "p_holm": 0.5, **metric}
        for number, a in enumerate(ENCODERS)
        for b in ENCODERS[number + 1 :]
    ]
    folds = {"0": {"best": {"head": "abmil"}}, "1": {"best": {"head": "mean"}}}
    text = page(
        {
            "encoders": list(ENCODERS),
            "recipe": recipe_of(tmp_path, quick=True).model_dump(mode="json"),
            "folds": 2,
            "pixels": 64,
            "views": 4,
            "results": dict.fromkeys(ENCODERS, result),
            "searches": {name: {"searches": folds} for name in ENCODERS},
            "differences": differences,
            "machine": {"cpu": "x", "cores": 2, "threads": 2, "memory_gb": 1, "os": "y", "python": "3"},
            "versions": {},
            "commit": "c",
            "invocation": "python -m benchmarks.encoders",
        }
    )
    assert text.count("+0.700 to +0.900") == 6
    assert "| untrained  | abmil  | mean   |" in text
    assert "weaksupcon - untrained" in text


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "p.parquet").touch()
    (tmp_path / "model.safetensors").touch()
    options = ["--patches", str(tmp_path / "p.parquet"), "--weights", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "holds something else" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("lacking", ["p.parquet", "model.safetensors"])
def test_nothing_is_claimed_for_inputs_that_are_not_there(tmp_path, lacking):
    for name in {"p.parquet", "model.safetensors"} - {lacking}:
        (tmp_path / name).touch()
    options = ["--patches", str(tmp_path / "p.parquet"), "--weights", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.skipif(not (PATCHES.is_file() and WEIGHTS.is_dir()), reason="no patches or weights are named")
def test_a_quick_comparison_of_real_patches(ray_cluster, tmp_path):
    out = tmp_path / "out"
    options = ["--patches", str(PATCHES), "--weights", str(WEIGHTS), "--out", str(out), "--quick"]
    result = CliRunner().invoke(main, [*options, "--markdown", str(tmp_path / "page.md")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["results"]) == set(ENCODERS)
    slides = pq.read_table(out / "manifest" / "slides.parquet").to_pandas()
    trained = set(slides.slide_id[slides.split == "train"])
    held = set(csv.read_csv(out / "folds.csv")["slide_id"].to_pylist())
    assert not trained & held, "no encoder has seen the slides that measure it"
    assert all(each["slides"] == len(held) for each in summary["results"].values())

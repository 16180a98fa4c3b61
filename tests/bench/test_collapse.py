"""`python -m benchmarks.collapse`: its batches, its page, and a quick run where patches and weights are there."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from benchmarks.collapse.__main__ import main
from benchmarks.collapse.encoders import Encoders, Kind
from benchmarks.collapse.page import counts, table_of
from benchmarks.collapse.training import CONSTANT, Setting
from benchmarks.collapse.views import Views, read_patches
from wsc_ray.errors import DataError
from wsc_ray.recipe.sections import PROGRESS

PATCHES = Path(os.environ.get("WSC_RAY_COHORTS", "none"), "pcam", "patches.parquet")
WEIGHTS = Path(os.environ.get("WSC_RAY_WEIGHTS", "none"), "tf_efficientnet_lite0")


def test_a_batch_is_half_pure_and_holds_two_views_of_each_patch():
    """Values name their class, patch and view."""
    kind, patch, view = np.meshgrid(range(2), range(6), range(4), indexing="ij")
    views = Views(np.stack([kind, patch, view], axis=-1))
    batches = list(views.batches(8, 3, seed=1))
    for step, batch in enumerate(batches):
        assert batch["views"].shape == (8, 2, 3)
        assert batch["label"].tolist() == [0] * 4 + [1] * 4
        assert (batch["step"] == step).all()
        assert (batch["views"][..., 0] == batch["label"][:, None]).all()
        first, second = batch["views"][:, 0], batch["views"][:, 1]
        assert (first[:, 1] == second[:, 1]).all(), "both are of one patch"
        assert (first[:, 2] != second[:, 2]).all(), "they are different views"
        assert len(set(first[:4, 1].tolist())) == 4, "no patch is there twice"
    again = list(views.batches(8, 3, seed=1))
    assert all((one["views"] == other["views"]).all() for one, other in zip(batches, again, strict=True))
    assert any((batches[0]["views"] != batch["views"]).any() for batch in batches[1:])


def test_too_few_patches_are_a_sentence(tmp_path):
    table = pa.table({"slide_label": [0, 1], "split": ["train", "test"], "image": [b"", b""]})
    pq.write_table(table, tmp_path / "patches.parquet")
    with pytest.raises(DataError, match="has 1 training patches of label 0; the grid takes 2"):
        read_patches(tmp_path / "patches.parquet", 2)
    with pytest.raises(DataError, match="cannot be read as a table of patches"):
        read_patches(tmp_path / "none.parquet", 2)


def test_an_adapter_starts_the_same_whether_its_features_are_there_or_not(tmp_path, monkeypatch):
    """Making the features builds an encoder, which draws random numbers."""
    monkeypatch.setattr(Encoders, "_features", lambda self: Views(torch.rand(2, 3, 2, 5).numpy()))
    encoders = Encoders(tmp_path, Path("none"), Path("none"), count=3, views=2)
    first, again = (encoders.make(Kind.ADAPTER, seed=0).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_table_has_a_line_a_training_and_the_counts_one_a_weight():
    last = {
        "similarity": 0.001,
        "contrastive": 5.92,
        "mean_cosine": 1.0,
        "effective_rank": 1.1,
        "collapsed": 1.0,
        "similarity_weight": 1.0,
    }
    fine = {
        "similarity": 4.5,
        "contrastive": 5.1,
        "mean_cosine": 0.6,
        "effective_rank": 9.0,
        "collapsed": 0.0,
        "similarity_weight": 0.1,
    }
    rows = [
        {**Setting(Kind.RANDOM, 64, 40, lr, warmup).to_json(), "last": found, "highest_cosine": found["mean_cosine"]}
        for warmup, lr, found in ((CONSTANT, 0.1, last), (PROGRESS, 0.1, fine), (PROGRESS, 0.4, fine))
    ]
    first, *others = table_of(rows).splitlines()[2:]
    assert "constant 1" in first
    assert "**yes**" in first
    assert len(others) == 2
    assert all("progress (default)" in line and "| no" in line for line in others)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in counts(rows).splitlines()[2:]]
    assert lines == [["constant 1", "1", "1"], ["progress (default)", "2", "0"]]


@pytest.mark.slow
@pytest.mark.skipif(
    not PATCHES.is_file() or not WEIGHTS.is_dir(), reason="WSC_RAY_COHORTS or WSC_RAY_WEIGHTS lacks them"
)
def test_a_quick_grid_runs_and_goes_on(tmp_path):
    page, out = tmp_path / "page.md", tmp_path / "out"
    arguments = ["--patches", str(PATCHES), "--weights", str(WEIGHTS), "--out", str(out)]
    told = CliRunner().invoke(main, [*arguments, "--quick", "--markdown", str(page)], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    first = page.read_text()
    assert "## Gradients before the first step" in first
    lost = out / "runs" / "random-16-2-0.1-progress.json"
    lost.unlink()
    told = CliRunner().invoke(main, [*arguments, "--quick", "--markdown", str(page)], catch_exceptions=False)
    assert told.exit_code == 0
    assert [line for line in page.read_text().splitlines() if "random" in line] == [
        line for line in first.splitlines() if "random" in line
    ]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 2
    assert "holds a grid of other options" in told.output

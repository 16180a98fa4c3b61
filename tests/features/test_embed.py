"""Embedding on real Ray Data: one atomic file a slide, those that are there left out."""

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from wsc_ray.commands import embed, pretrain
from wsc_ray.encoders import load_exported, normalise_pixels
from wsc_ray.errors import RunFolderError
from wsc_ray.features.embed import _overlap
from wsc_ray.features.store import read_slide, read_slides
from wsc_ray.pixels import decode
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.augment import resize


@pytest.fixture
def run(settings, tmp_path):
    """A run folder with an untrained encoder, which needs no Ray."""
    settings["train"]["epochs"] = 0
    pretrain(recipe=validate_recipe(settings), out=tmp_path / "run")
    return tmp_path / "run"


def test_every_slide_is_what_the_encoder_says(ray_cluster, run, cohort):
    summary = embed(run=run)
    raw = pq.read_table(cohort).to_pandas()
    assert summary["patches_embedded"] == len(raw)
    slides = read_slides(run / "features").slides.to_pandas().set_index("slide_id")
    assert set(slides.index) == set(raw.slide_id)
    encoder, _ = load_exported(run / "encoder")
    for slide_id, patches in list(raw.groupby("slide_id"))[:3]:
        found = read_slide(run / "features", slide_id)
        assert slides.loc[slide_id, "patches"] == len(patches)
        assert slides.loc[slide_id, "label"] == ("positive" if patches.slide_label.iloc[0] else "negative")
        order = {(x, y): i for i, (x, y) in enumerate(found.coords.tolist())}
        rows = [order[(x, y)] for x, y in zip(patches.x, patches.y, strict=True)]
        np.testing.assert_array_equal(found.patch_label[rows], patches.patch_label)
        pixels = torch.from_numpy(np.stack([resize(decode(image), 32) for image in patches.image]))
        with torch.inference_mode():
            expected = encoder(normalise_pixels(pixels)).numpy()
        np.testing.assert_allclose(found.features[rows], expected, rtol=1e-4, atol=1e-5)


def test_files_are_tridents(ray_cluster, run):
    embed(run=run)
    path = next((run / "features").glob("*.h5"))
    with h5py.File(path) as file:
        assert file["features"].dtype == np.float32
        assert file["coords"].dtype == np.int64
        assert file["features"].attrs["encoder"] == "test_resnet"
        for key in ("patch_size", "patch_size_level0", "target_magnification", "overlap", "name", "savetodir"):
            assert key in file["coords"].attrs, key


@pytest.mark.parametrize("overlap", [0, 16])
def test_overlap_is_told_from_coordinates_also_where_pieces_have_grids_of_their_own(overlap):
    step = 2 * (64 - overlap)  # of patches of 128 level-0 px, stored as 64
    pieces = [
        (left + column * step, top + row * step)
        for left, top in ((0, 0), (1003, 7))
        for row in range(3)
        for column in range(3)
    ]
    assert _overlap(np.array(pieces), 128, 64) == overlap
    assert _overlap(np.array([(5, 5)]), 128, 64) == 0


def test_a_second_time_only_what_is_missing_is_done(ray_cluster, run):
    embed(run=run)
    files = sorted((run / "features").glob("*.h5"))
    stamps = {path: path.stat().st_mtime_ns for path in files}
    before = read_slide(run / "features", files[4].stem)
    files[4].unlink()
    (run / "features" / f".{files[4].name}.half").write_bytes(b"half-written, by a crash")
    summary = embed(run=run)
    assert summary["slides_there"] == len(files) - 1
    assert summary["patches_embedded"] == len(before.features)
    np.testing.assert_allclose(
        read_slide(run / "features", files[4].stem).features, before.features, rtol=1e-5, atol=1e-6
    )
    assert all(path.stat().st_mtime_ns == stamps[path] for path in files if path != files[4])
    assert embed(run=run)["patches_embedded"] == 0


def test_features_of_two_encoders_are_never_mixed(ray_cluster, run, settings, tmp_path):
    embed(run=run)
    with pytest.raises(RunFolderError, match="`size`: 32 there, 48 here"):
        embed(run=run, overrides=["embed.size=48"])
    other = yaml.safe_load((run / "recipe.yaml").read_text())
    other["seed"] = 9
    pretrain(recipe=validate_recipe(other), out=tmp_path / "other")
    with pytest.raises(RunFolderError, match="`encoder`: "):
        embed(run=tmp_path / "other", out=run / "features")


def test_a_dry_run_touches_nothing(run):
    before = sorted(run.rglob("*"))
    assert embed(run=run, dry_run=True)["patches"] > 0
    assert sorted(run.rglob("*")) == before

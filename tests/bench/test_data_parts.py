"""What the data benchmark is made of: its patches, the reference's pipeline, recipes, and how figures are judged."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from benchmarks.data.contenders import DECODING, REFERENCE
from benchmarks.data.images import encoded_images
from benchmarks.data.measure import stream_recipe
from benchmarks.data.reference import MEAN, STD, TwoViews
from benchmarks.data.sizes import FULL, QUICK
from benchmarks.data.targets import Figures, verdicts
from benchmarks.data.training import training_recipe, waiting
from wsc_ray.bench.patches import drawn_manifest
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN
from wsc_ray.manifest import open_manifest
from wsc_ray.pixels import decode
from wsc_ray.recipe.sections import Augment


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    sizes = replace(QUICK, copies=3)
    return drawn_manifest(folder, sizes), folder, sizes


def test_drawn_patches_come_in_copies_of_other_slides(drawn):
    path, _, sizes = drawn
    manifest = open_manifest(str(path))
    rows = manifest.read_rows(["slide_id", "x", "y", "image"]).to_pandas()
    rows = rows.astype({"slide_id": str}).merge(manifest.cohort().slides.to_pandas(), on="slide_id")
    rows = rows[rows.split == "train"]
    assert len(rows) == sizes.slides * sizes.per_slide * sizes.copies
    assert rows.slide_id.nunique() == sizes.slides * sizes.copies
    assert not rows.duplicated(["slide_id", "x", "y"]).any()
    assert (rows.groupby("image").slide_id.nunique() == sizes.copies).all()
    assert decode(rows.image.iloc[0]).shape == (sizes.patch, sizes.patch, 3)


def test_drawn_once(drawn):
    path, folder, sizes = drawn
    assert [child.name for child in folder.iterdir()] == [path.name]
    before = [file.stat().st_mtime_ns for file in path.rglob("*")]
    assert drawn_manifest(folder, sizes) == path
    assert [file.stat().st_mtime_ns for file in path.rglob("*")] == before


def test_encoded_images_are_of_the_split_and_no_more_than_asked(drawn):
    path, _, sizes = drawn
    everything = sizes.slides * sizes.per_slide * sizes.copies
    assert len(encoded_images(str(path), "train", 10)) == 10
    assert len(encoded_images(str(path), "train", 10 * everything)) == everything


def test_the_reference_pipeline_without_chance_is_the_normalised_picture():
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    still = Augment(size=24, scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0, jitter=0, grayscale=0)
    first, second = TwoViews([encoded], still)[0]
    expected = (torch.from_numpy(picture).permute(2, 0, 1) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(
        STD
    ).view(3, 1, 1)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, expected)


def test_the_reference_pipeline_makes_two_views():
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    first, second = TwoViews([encoded], Augment(size=32))[0]
    assert first.shape == second.shape == (3, 32, 32)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("batch_size", "shards"), [(512, 64), (96, 16), (6, 1)])
def test_any_even_batch_has_a_recipe(batch_size, shards):
    recipe = stream_recipe({"manifest": "m"}, QUICK, batch_size, 3)
    assert recipe.stream.shards == shards
    assert recipe.train.steps_per_epoch == (2 + QUICK.waves) * 3 * QUICK.window
    assert recipe.augment.jitter == Augment().jitter


def test_training_leaves_cores_to_reading(tmp_path):
    for cores in (1, 2, 16):
        recipe = training_recipe(tmp_path, {"manifest": "m"}, FULL, cores)
        assert recipe.train.cpus_per_worker < max(2, cores)


def test_waiting_is_a_share_of_all_time_after_the_warm_up():
    lines = [
        {"patches_per_second": 10.0, "data_wait_fraction": 1.0},  # the warm-up
        {"patches_per_second": 20.0, "data_wait_fraction": 0.0},  # 1 s
        {"patches_per_second": 20.0, "data_wait_fraction": 0.0},  # 1 s
        {"patches_per_second": 10.0, "data_wait_fraction": 0.5},  # 2 s, half of them waiting
    ]
    found = waiting(lines, batch_size=20, warm_up=1)
    assert found == {"waited": 0.25, "waited_median": 0.0, "patches_per_second": 15.0, "steps": 3}


GOOD = Figures({REFERENCE: 10.5, DECODING: 0.26}, 0.019, 9.0, {"seconds": 4.9, "peak_mb": 299})
BAD = Figures({REFERENCE: 9.5, DECODING: 0.24}, 0.021, 11.0, {"seconds": 4.9, "peak_mb": 301})


def test_targets():
    assert {one.verdict for one in verdicts(GOOD)} == {REACHED}
    assert {one.verdict for one in verdicts(BAD)} == {MISSED}
    assert [one.target for one in verdicts(GOOD)] == [one.target for one in verdicts(None)]
    assert {one.verdict for one in verdicts(None)} == {UNKNOWN}
    assert [one.verdict for one in verdicts(replace(GOOD, planning=None))] == [REACHED] * 4 + [UNKNOWN]
    assert [one.figures for one in verdicts(GOOD)] == ["10.5x", "26%", "1.9%", "9.00 s", "4.90 s, 299 MB"]

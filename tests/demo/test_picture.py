"""What the demo says of patches: how far they are from normal tissue, and its picture of them."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow as pa
import pytest

from wsc_ray.demo.picture import draw, read_test_patches
from wsc_ray.features.store import SlideFeatures, write_slide, write_slides

SLIDES = (
    ("normal", "train", "negative"),
    ("ill", "train", "positive"),
    ("new", "test", "negative"),
    ("new-ill", "test", "positive"),
    ("other", "val", "negative"),
)
TUMOUR = 4  # patches of a positive slide


def write_store(folder, *, width, away):
    """A store of five slides of 20 patches, in which tumour patches are `away` from the others in the first feature."""
    rng = np.random.default_rng(0)
    for slide, _, label in SLIDES:
        features = rng.normal(size=(20, width)).astype(np.float32)
        tumour = np.arange(20) < (TUMOUR if label == "positive" else 0)
        features[tumour, 0] += away
        patches = SlideFeatures(slide, features, np.zeros((20, 2), np.int64), tumour.astype(np.int8))
        write_slide(folder, patches, attributes={"encoder": "drawn"}, coords_attributes={})
    names = ("slide_id", "split", "label")
    columns = dict(zip(names, map(list, zip(*SLIDES, strict=True)), strict=True))
    write_slides(folder, pa.table({**columns, "patient_id": columns["slide_id"], "patches": [20] * len(SLIDES)}))
    return read_test_patches(folder)


@pytest.mark.parametrize(("away", "low", "high"), [(30.0, 1.0, 1.0), (0.0, 0.2, 0.8)])
def test_tumour_that_lies_apart_is_found_by_its_distance(tmp_path, away, low, high):
    patches = write_store(tmp_path, width=3, away=away)
    assert patches.tumour.sum() == TUMOUR
    assert patches.positive.sum() == 20
    assert patches.width == 3
    assert low <= patches.distance_auroc() <= high


def test_two_features_are_shown_as_they_are_and_more_by_their_components(tmp_path):
    two = write_store(tmp_path / "two", width=2, away=30.0)
    np.testing.assert_array_equal(two.plane(), two.features)
    many = write_store(tmp_path / "many", width=5, away=30.0)
    assert many.plane().shape == (40, 2)
    first = np.abs(many.plane()[:, 0] - np.median(many.plane()[:, 0]))
    assert first[many.tumour].min() > first[~many.tumour].max()  # the largest component is the tumour's


def test_the_picture_has_a_panel_for_each_encoder(tmp_path):
    patches = write_store(tmp_path / "store", width=2, away=30.0)
    draw({"one": patches}, tmp_path / "one.png")
    draw({"one": patches, "other": patches}, tmp_path / "two.png")
    widths = [cv2.imread(str(tmp_path / name)).shape[1] for name in ("one.png", "two.png")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=2)
    picture = cv2.imread(str(tmp_path / "one.png")).astype(int)
    red = (picture[..., 2] > 150) & (picture[..., 1] < 90) & (picture[..., 0] < 90)
    assert red.sum() > 50

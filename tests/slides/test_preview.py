"""Previews: large enough to judge by eye, with what was found drawn where it lies."""

import cv2
import numpy as np
import pytest

from tests.slides.drawn import draw, write
from wsc_ray.errors import DataError
from wsc_ray.pixels import decode
from wsc_ray.slides import preview as module
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.picture import small_picture
from wsc_ray.slides.preview import SIDE, preview
from wsc_ray.slides.preview import draw as draw_on
from wsc_ray.slides.tissue import Tissue, find_tissue


@pytest.mark.parametrize(("side", "mpp"), [(700, 0.5), (1500, 0.5), (1500, 4.0)])
def test_the_longer_side_is_large_whatever_the_scale(tmp_path, side, mpp):
    slide = open_slide(write(tmp_path / "s.tif", draw(side), mpp=mpp), "openslide")
    picture, px = small_picture(slide, mpp)
    kept = np.array([[side // 2, side // 2]])
    shown = decode(preview(slide, picture, px, find_tissue(picture), kept, side / 8))
    slide.close()
    length = min(side, SIDE)
    assert shown.shape == (length, length, 3)
    plain = cv2.resize(draw(side), (length, length), interpolation=cv2.INTER_AREA).astype(int)
    centre = slice(round(length * 0.51), round(length * 0.61))
    changed = shown.astype(int) - plain
    assert changed[centre, centre, 0].mean() < -10, "the patch is tinted green: less red"
    assert np.abs(changed[: length // 20]).mean() < 4, "glass is as it was"


def test_a_slide_whose_finer_levels_cannot_be_read_has_a_preview_all_the_same(tmp_path, monkeypatch):
    slide = open_slide(write(tmp_path / "s.tif", draw(600)), "openslide")
    picture, px = small_picture(slide, 0.5)

    def broken(*_):
        raise DataError("damaged")

    monkeypatch.setattr(module, "picture_of", broken)
    shown = decode(preview(slide, picture, px, find_tissue(picture), np.empty((0, 2), np.int64), 64.0))
    assert shown.shape == (600, 600, 3)
    slide.close()


def test_outlines_have_their_colours():
    picture = np.full((100, 100, 3), 200, np.uint8)
    masks = np.zeros((3, 50, 50), bool)
    for number, mask in enumerate(masks):
        mask[10:20, 5 + 15 * number : 15 + 15 * number] = True
    shown = draw_on(picture, Tissue(*masks), np.array([[[10, 70], [40, 90]]]))
    assert shown[20, 20].tolist() == [20, 20, 20]
    assert shown[20, 50].tolist() == [230, 120, 0]
    assert shown[20, 80].tolist() == [0, 90, 230]
    assert shown[70, 20].tolist() == [0, 160, 60]
    assert shown[80, 25].tolist() != [200] * 3
    assert shown[5, 5].tolist() == [200] * 3

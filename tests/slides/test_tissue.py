"""Tissue on drawn slides, where it is known."""

import numpy as np
import pytest

from tests.slides.drawn import draw, write
from wsc_ray.slides.slide import open_slide
from wsc_ray.slides.tissue import find_tissue, small_picture


@pytest.fixture(scope="module")
def picture():
    """A disc 0.7 of the side wide, at 8 um/px."""
    return draw(600, seed=1)


def disc(side, radius=0.35):
    y, x = np.mgrid[:side, :side] - side / 2
    return np.hypot(x, y) < radius * side


def test_the_disc_is_found(picture):
    found = find_tissue(picture)
    truth = disc(600)
    assert (found & truth).sum() / (found | truth).sum() > 0.95


@pytest.mark.parametrize("value", [255, 243, 225, 0])
def test_glass_grey_and_black_hold_none(value):
    rng = np.random.default_rng(0)
    plain = rng.normal(value, 2, (300, 300, 3)).clip(0, 255).astype(np.uint8)
    assert not find_tissue(plain).any()


def test_dust_and_pen_are_left_out_and_lumina_belong_to_the_tissue(picture):
    marked = picture.copy()
    marked[20:28, 20:28] = (160, 90, 150)  # 0.004 mm^2
    marked[40:80, 500:580] = (10, 10, 12)  # a black pen
    marked[295:315, 295:315] = 245  # 0.026 mm^2 of glass inside
    found = find_tissue(marked)
    assert not found[:90, :40].any()
    assert not found[40:80, 500:580].any()
    assert found[295:315, 295:315].all()


@pytest.mark.parametrize("levels", [1, 4])
def test_the_small_picture_is_the_slide_whatever_its_pyramid(tmp_path, levels):
    """Read in blocks, so that a slide without a pyramid takes no more memory than one with it."""
    whole = draw(2048, seed=2)
    slide = open_slide(write(tmp_path / "s.tif", whole, mpp=1.0, levels=levels), "openslide")
    small, px = small_picture(slide, 1.0)
    slide.close()
    assert (small.shape, px) == ((256, 256, 3), 8.0)
    blocks = whole.reshape(256, 8, 256, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 1.0

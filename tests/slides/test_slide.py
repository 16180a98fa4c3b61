"""Readers: what is drawn is what is read, by OpenSlide and, where it is installed, by cuCIM."""

import importlib.util

import numpy as np
import pytest
from openslide import OpenSlide

from tests.slides.drawn import draw, write
from wsc_ray.errors import DataError
from wsc_ray.slides import slide as module
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.picture import small_picture
from wsc_ray.slides.readers import openslide
from wsc_ray.slides.scale import choose_scale
from wsc_ray.slides.slide import Region, choose_reader, on_white, pyramid

READERS = [
    "openslide",
    "stored-tiles",
    pytest.param(
        "cucim", marks=pytest.mark.skipif(importlib.util.find_spec("cucim") is None, reason="cuCIM is not installed")
    ),
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    picture = draw(1024, seed=3)
    return picture, write(tmp_path_factory.mktemp("slides") / "a.tif", picture, mpp=0.5)


def test_a_large_region_is_asked_for_in_parts(drawn, monkeypatch):
    picture, path = drawn
    monkeypatch.setattr(openslide, "AT_ONCE", 50_000)
    asked = []
    read = OpenSlide.read_region

    def recorded(self, location, level, size):
        asked.append(size[0] * size[1])
        return read(self, location, level, size)

    monkeypatch.setattr(OpenSlide, "read_region", recorded)
    slide = open_slide(path, "openslide")
    np.testing.assert_array_equal(slide.read(3, 5, 0, 1000, 901), picture[5:906, 3:1003])
    assert sum(asked) == 1000 * 901
    assert max(asked) <= 50_000


@pytest.mark.parametrize("reader", READERS)
def test_regions_are_what_was_drawn(drawn, reader):
    picture, path = drawn
    slide = open_slide(path, reader)
    assert slide.size == (1024, 1024)
    np.testing.assert_allclose(slide.downsamples, (1, 2, 4))
    np.testing.assert_allclose(slide.mpp, (0.5, 0.5), rtol=1e-3)
    assert slide.scanned == (0, 0, 1024, 1024)
    np.testing.assert_array_equal(slide.read(100, 200, 0, 64, 32), picture[200:232, 100:164])
    half = picture[:512, :512].reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(slide.read(0, 0, 1, 256, 256) - half).max() <= 1
    regions = [Region(100, 200, 0, 64, 32), Region(0, 0, 1, 16, 8)]
    for region, pixels in zip(regions, slide.read_regions(regions), strict=True):
        np.testing.assert_array_equal(pixels, slide.read(*region))
    slide.close()


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_slide_is_a_sentence(tmp_path, reader):
    (tmp_path / "x.tif").write_text("no slide")
    with pytest.raises(DataError, match=r"x\.tif cannot be opened"):
        open_slide(tmp_path / "x.tif", reader)
    with pytest.raises(DataError, match="is not there"):
        open_slide(tmp_path / "y.tif", reader)


def test_what_was_not_scanned_is_white():
    region = np.zeros((1, 3, 4), np.uint8)
    region[0, 1] = (200, 100, 50, 255)
    region[0, 2] = (200, 100, 50, 128)
    seen = on_white(region)
    assert seen[0, 0].tolist() == [255, 255, 255]
    assert seen[0, 1].tolist() == [200, 100, 50]
    assert (seen[0, 2] > (200, 100, 50)).all()


@pytest.mark.parametrize("reader", READERS)
def test_a_macro_among_the_levels_is_left_out(tmp_path, reader):
    picture = draw(1024, seed=3)
    path = write(tmp_path / "a.tif", picture, levels=2, macro=draw(256)[:96])
    slide = open_slide(path, reader)
    assert slide.downsamples == (1, 2, np.inf)
    scale = choose_scale(0.5, slide.downsamples, mpp=8, size=16)
    assert scale.level == 1
    small, px = small_picture(slide, 0.5)
    assert px == 16
    expected = picture.reshape(64, 16, 64, 16, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 3, "of the slide, not of the macro"
    slide.close()


@pytest.mark.parametrize(
    ("size", "level", "kept"),
    [
        ((100_000, 80_000), (25_000, 20_000), True),
        ((100_003, 80_001), (390, 312), True),  # rounded down
        ((100_003, 20_001), (98, 21), True),  # a px more or less is much of a small level
        ((100_000, 80_000), (1024, 1024), False),
        ((100_000, 80_000), (320, 400), False),
        ((2048, 2048), (256, 96), False),
        ((46_000, 32_914), (1280, 431), False),
    ],
)
def test_levels_of_the_pyramid_are_told_from_other_pictures(size, level, kept):
    mean = (size[0] / level[0] + size[1] / level[1]) / 2
    assert pyramid([size, level], [1.0, mean]) == (1.0, mean if kept else np.inf)


def test_a_reader_that_is_not_installed_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DataError,
        match=r"OpenSlide or cuCIM is not installed; `pip install 'wsc-ray\[slides\]'` installs OpenSlide",
    ):
        choose_reader("auto")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name == "cucim" or None)
    assert choose_reader("auto") == "cucim"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name == "openslide" or None)
    assert choose_reader("auto") == "openslide", "stored tiles need tifffile too"
    with pytest.raises(
        DataError,
        match="--reader vips: there is no slide reader vips; there are cucim, openslide, stored-tiles, or auto",
    ):
        choose_reader("vips")

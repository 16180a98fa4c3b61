"""Readers: what is drawn is what is read, by OpenSlide and, where it is installed, by cuCIM."""

import importlib.util

import numpy as np
import pytest

from tests.slides.drawn import draw, write
from wsc_ray.errors import DataError
from wsc_ray.slides import slide as module
from wsc_ray.slides.slide import Region, choose_reader, on_white, open_slide

READERS = [
    "openslide",
    pytest.param(
        "cucim", marks=pytest.mark.skipif(importlib.util.find_spec("cucim") is None, reason="cuCIM is not installed")
    ),
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    picture = draw(1024, seed=3)
    return picture, write(tmp_path_factory.mktemp("slides") / "a.tif", picture, mpp=0.5)


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


def test_a_reader_that_is_not_installed_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"OpenSlide or cuCIM is not installed; `pip install 'wsc-ray\[slides\]'` installs OpenSlide"
    ):
        choose_reader("auto")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name == "cucim" or None)
    assert choose_reader("auto") == "cucim"
    with pytest.raises(
        DataError, match="--reader vips: there is no slide reader vips; there are cucim, openslide, or auto"
    ):
        choose_reader("vips")

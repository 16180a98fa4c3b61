"""Pixel sources return an image or a reason for each row, from any of the pixel columns."""

import numpy as np
import pytest

from tests.manifest.cohort import png
from wsc_ray.pixels import PixelSource, Unreadable, decode, to_image
from wsc_ray.pixels.sources import SOURCES


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "cut.png").write_bytes(png(2)[:30])
    return str(tmp_path)


def reasons(found):
    return [each.reason if isinstance(each, Unreadable) else None for each in found]


def test_bytes_inside_the_manifest(folder):
    source = PixelSource(["slide_id", "image"], folder)
    assert source.columns == ("image",)
    found = list(source.read([{"image": png(3)}, {"image": b""}, {"image": None}, {"image": b"junk"}]))
    np.testing.assert_array_equal(found[0], decode(png(3)))
    assert reasons(found)[1:] == [
        "the image is empty (0 bytes)",
        "the patch has no pixels: image, image_uri and slide_uri are all null or not read",
        "the image cannot be decoded: its 4 bytes are cut short or no known format",
    ]


def test_files_start_at_the_folder_and_wait_together(folder):
    waits = []
    source = PixelSource(["image_uri"], folder, retries=2, sleep=waits.append)
    rows = [{"image_uri": uri} for uri in ("gone.png", "a.png", f"{folder}/a.png", "cut.png", "gone.png", None)]
    found = source.fetch(rows)
    assert found[1:4] == [png(1), png(1), png(2)[:30]]
    assert waits == [0.5, 1], "once for all that is missing, and not for what is damaged or null"
    told = reasons(found)
    assert told[0] == told[4]
    assert told[0].startswith("gone.png cannot be read: ")
    assert told[1:4] == [None] * 3
    assert "no pixels" in told[5]
    assert "cut short" in to_image(found[3]).reason


def test_a_row_is_read_by_its_first_column_that_is_not_null(folder):
    source = PixelSource(["slide_uri", "image_uri", "image"], folder)
    assert source.columns == ("image", "image_uri", "slide_uri", "x", "y", "level", "patch_size")
    rows = [
        {"image": None, "image_uri": "a.png", "slide_uri": "s.svs"},
        {"image": png(7), "image_uri": "gone.png"},
        {"slide_uri": "s.svs"},
        {},
    ]
    found = source.fetch(rows)
    assert found[:2] == [png(1), png(7)]
    assert ["s.svs" in reason if reason else None for reason in reasons(found)] == [None, None, True, False]


def test_a_source_may_give_pixels_that_need_no_decoding(folder, monkeypatch):
    class Black:
        columns = ("slide_uri", "x")
        optional = ("y", "mpp")

        def __init__(self, folder, read_all):
            pass

        def fetch(self, rows):
            return [np.full((2, 2, 3), row["x"], np.uint8) for row in rows]

    monkeypatch.setitem(SOURCES, "slide_uri", Black)
    source = PixelSource(["slide_uri"], folder)
    assert source.columns == ("slide_uri", "x")
    assert PixelSource(["slide_uri", "y"], folder).columns == ("slide_uri", "x", "y")
    found = list(source.read([{"slide_uri": "s", "x": 4}, {"slide_uri": "s", "x": 5}]))
    assert [image.max() for image in found] == [4, 5]

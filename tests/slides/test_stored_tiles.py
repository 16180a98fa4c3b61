"""Stored tiles: what OpenSlide reads, bit for bit, each tile decoded once, and a sentence where a file is damaged."""

import contextlib
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.memory import peak_of
from tests.slides.drawn import draw, write
from tests.slides.jpeg_slides import Jpeg, write_jpeg_slide
from wsc_ray.errors import DataError
from wsc_ray.slides.grid import grid
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.patches import Square, read_patches
from wsc_ray.slides.picture import small_picture
from wsc_ray.slides.readers.stored_tiles import TOLERANCE, StoredTilesSlide
from wsc_ray.slides.slide import Region

REAL = os.environ.get("WSC_RAY_SLIDES")
PICTURE = draw(1100, seed=7)
MB = 1 << 20


def smaller(picture: np.ndarray, by: int) -> np.ndarray:
    height, width = picture.shape[:2]
    return cv2.resize(picture, (width // by, height // by), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def slide(tmp_path_factory) -> Path:
    """1013 x 901 px of Aperio's RGB, and a level of 253 x 225 px."""
    picture = PICTURE[:901, :1013]
    return write_jpeg_slide(
        tmp_path_factory.mktemp("slides") / "a.svs", [picture, smaller(picture, 4)], jpeg=Jpeg(rgb=True)
    )


def alone(path: Path) -> StoredTilesSlide:
    """A slide whose OpenSlide handle has gone, so that only stored tiles can give its pixels."""
    opened = open_slide(path, "stored-tiles")

    class Gone:
        def read_region(self, *_):
            raise AssertionError("OpenSlide was asked")

        def close(self):
            pass

    opened._slide.close()
    opened._slide = Gone()
    return opened


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pixels_are_openslides(tmp_path, data):
    """Any size, tile, colours, subsampling, tables and missing tiles: identical at level 0, and near it elsewhere."""
    integers = st.integers
    width, height = data.draw(integers(40, 700), "width"), data.draw(integers(40, 700), "height")
    tile = tuple(16 * data.draw(integers(1, 16), side) for side in ("tile width", "tile height"))
    jpeg = Jpeg(
        rgb=data.draw(st.booleans(), "rgb"),
        subsampling=data.draw(integers(0, 2), "subsampling"),
        shared=data.draw(st.booleans(), "shared"),
        quality=data.draw(st.sampled_from((30, 80, 95)), "quality"),
    )
    picture = PICTURE[-height:, -width:]
    levels = [picture, smaller(picture, data.draw(integers(2, 4), "by"))]
    count = -(-width // tile[0]) * -(-height // tile[1])
    missing = {
        (0, number) for number in data.draw(st.sets(integers(0, count - 1), max_size=min(3, count - 1)), "missing")
    }
    vendor = data.draw(st.sampled_from(("aperio", "philips", "generic")), "vendor")
    path = write_jpeg_slide(tmp_path / "a.svs", levels, tile=tile, jpeg=jpeg, missing=missing, vendor=vendor)
    ours = open_slide(path, "stored-tiles") if missing and vendor == "aperio" else alone(path)
    theirs = open_slide(path, "openslide")
    assert (ours.size, ours.downsamples, ours.mpp, ours.scanned) == (
        theirs.size,
        theirs.downsamples,
        theirs.mpp,
        theirs.scanned,
    )
    x, y = data.draw(integers(0, width - 1), "x"), data.draw(integers(0, height - 1), "y")
    w, h = data.draw(integers(1, 300), "w"), data.draw(integers(1, 300), "h")
    np.testing.assert_array_equal(ours.read(x, y, 0, w, h), theirs.read(x, y, 0, w, h))
    assert ours._vendor == {"generic": "generic-tiff"}.get(vendor, vendor)
    np.testing.assert_array_equal(ours.read(0, 0, 1, w, h), theirs.read(0, 0, 1, w, h))
    away = np.abs(ours.read(x, y, 1, w, h).astype(int) - theirs.read(x, y, 1, w, h))
    assert away.max() <= TOLERANCE + 1
    assert away.mean() <= 0.6
    ours.close()
    theirs.close()


@pytest.mark.skipif(not REAL, reason="WSC_RAY_SLIDES names no folder of real slides")
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "CropBreastSlide.tiff"])
def test_pixels_of_real_slides_are_openslides(name):
    path = Path(REAL) / name
    ours, theirs = alone(path), open_slide(path, "openslide")
    assert all(ours._levels)
    width, height = ours.size
    np.testing.assert_array_equal(ours.read(0, 0, 0, width, height), theirs.read(0, 0, 0, width, height))
    for level, down in enumerate(theirs.downsamples):
        w, h = int(width / down), int(height / down)
        np.testing.assert_array_equal(ours.read(0, 0, level, w, h), theirs.read(0, 0, level, w, h))
        x, y = width // 3, height // 5  # between px of the level
        inside = Region(x, y, level, w // 2, h // 2)
        away = np.abs(ours.read(*inside).astype(int) - theirs.read(*inside))
        assert away.max() <= (TOLERANCE if level else 0)
    small, px = small_picture(ours, 0.5)
    expected, _ = small_picture(theirs, 0.5)
    assert np.abs(small.astype(int) - expected).max() <= TOLERANCE
    assert px == 16


def test_large_regions_are_read_in_openslides_blocks(tmp_path):
    """OpenSlide reads 4096 px at a time and rounds the place of each to a px of level 0."""
    picture = np.ascontiguousarray(np.tile(PICTURE, (1, 13, 1))[:72, :14_001])
    path = write_jpeg_slide(tmp_path / "a.svs", [picture, smaller(picture, 3)], tile=(256, 64))
    ours, theirs = alone(path), open_slide(path, "openslide")
    for place in ((0, 0), (7, 5)):
        away = np.abs(ours.read(*place, 1, 4600, 20).astype(int) - theirs.read(*place, 1, 4600, 20))
        assert away.max() <= TOLERANCE
    np.testing.assert_array_equal(ours.read(3, 0, 0, 9000, 64), theirs.read(3, 0, 0, 9000, 64))


def test_each_tile_is_decoded_once_and_kept_no_longer_than_needed(slide, monkeypatch):
    opened = alone(slide)
    decoded: Counter = Counter()
    decode = opened._decode
    monkeypatch.setattr(opened, "_decode", lambda key: decoded.update([key]) or decode(key))
    corners = [tuple(corner) for corner in grid(opened.scanned, 100, 100).tolist()]
    most = 0
    squares = [Square(x, y, 0, 100, 100) for x, y in corners]
    for (x, y), pixels in zip(corners, read_patches(opened, squares), strict=True):
        most = max(most, opened._cache.bytes)
        np.testing.assert_array_equal(pixels, open_slide(slide, "openslide").read(x, y, 0, 100, 100))
    assert len(corners) == 90
    assert set(decoded.values()) == {1}
    assert len(decoded) == 20
    assert most <= 2 * 5 * 240 * 240 * 3, "two rows of tiles at most"
    assert opened._cache.bytes == 0


def test_openslide_reads_what_tiles_cannot_give(slide, tmp_path):
    other = write(tmp_path / "z.tif", PICTURE[:600, :700], levels=2)
    gap = write_jpeg_slide(
        tmp_path / "gap.svs", [PICTURE[:901, :1013], smaller(PICTURE[:901, :1013], 2)], missing={(0, 3), (1, 1)}
    )
    for path, region in (
        (other, (33, 20, 0, 150, 140)),  # another compression
        (other, (33, 20, 1, 150, 140)),
        (slide, (-20, -30, 0, 150, 140)),
        (gap, (500, 100, 1, 150, 140)),  # Aperio's smaller levels take what they lack from the larger one
    ):
        ours, theirs = open_slide(path, "stored-tiles"), open_slide(path, "openslide")
        np.testing.assert_array_equal(ours.read(*region), theirs.read(*region))
    assert open_slide(other, "stored-tiles")._levels == [None, None]


def test_levels_of_philips_that_are_padded_to_one_size_are_known_by_their_order(tmp_path):
    levels = [PICTURE[:512, :512], *(smaller(PICTURE[:512, :512], by) for by in (2, 4, 8))]
    path = write_jpeg_slide(tmp_path / "a.tif", levels, tile=(256, 256), vendor="philips")
    ours, theirs = alone(path), open_slide(path, "openslide")
    assert (ours.downsamples, ours.mpp) == ((1, 2, 4, 8), pytest.approx((0.499, 0.499)))
    for level in range(4):
        np.testing.assert_array_equal(ours.read(64, 32, level, 99, 99), theirs.read(64, 32, level, 99, 99))


def test_levels_of_one_size_are_not_confused(tmp_path):
    levels = [PICTURE[:512, :512], smaller(PICTURE, 4), 255 - smaller(PICTURE, 4)]
    path = write_jpeg_slide(tmp_path / "a.svs", levels)
    ours, theirs = open_slide(path, "stored-tiles"), open_slide(path, "openslide")
    for level in range(3):
        np.testing.assert_array_equal(ours.read(0, 0, level, 99, 99), theirs.read(0, 0, level, 99, 99))


def test_a_closed_slide_can_be_closed_and_leaves_no_handle(slide):
    before = set(os.listdir("/proc/self/fd"))
    opened = open_slide(slide, "stored-tiles")
    opened.read(0, 0, 0, 10, 10)
    opened.close()
    opened.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def refused(path: Path, sentence: str, region=(0, 0, 0, 100, 100), reader: str = "stored-tiles") -> None:
    """Opening or reading says so in one line, and takes little memory."""

    def work():
        with pytest.raises(DataError, match=sentence) as caught:
            open_slide(path, reader).read(*region)
        assert "\n" not in str(caught.value)

    assert peak_of(work).extra < 64 * MB


def damaged(slide: Path, to: Path, change) -> Path:
    shutil.copy(slide, to)
    with tifffile.TiffFile(to, mode="r+b") as file:
        change(file.pages[0], file.pages[0].tags)
    return to


def put(tags, name: str, number: int, value: int) -> None:
    values = list(tags[name].value)
    values[number] = value
    tags[name].overwrite(values)


def test_a_tile_beyond_the_end_of_the_file_is_a_sentence(slide, tmp_path):
    path = damaged(slide, tmp_path / "b.svs", lambda page, tags: put(tags, "TileOffsets", 0, 1 << 40))
    refused(path, "tile 0, 0 of level 0 of b.svs lies beyond the end of the file")
    opened = open_slide(path, "stored-tiles")
    good = Region(480, 480, 0, 100, 100)
    first, second, third = opened.read_regions([good, Region(0, 0, 0, 100, 100), good])
    assert isinstance(second, DataError)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first, open_slide(slide, "openslide").read(*good))


def test_a_truncated_slide_is_a_sentence(slide, tmp_path):
    (tmp_path / "c.svs").write_bytes(slide.read_bytes()[:3000])
    refused(tmp_path / "c.svs", "cannot be opened: ")


@pytest.mark.parametrize("side", [65_000, 1_000])
def test_a_size_that_the_listed_tiles_do_not_fill_is_a_sentence(slide, tmp_path, side):
    def change(page, tags):
        tags["ImageWidth"].overwrite(side)
        tags["ImageLength"].overwrite(side)

    refused(damaged(slide, tmp_path / "f.svs", change), r"f.svs has damaged tags: \d+ tiles are listed, and .* px take")


@pytest.mark.parametrize("count", [2**32 - 1, 10**6])
def test_bytes_that_a_header_claims_are_not_believed(slide, tmp_path, count):
    path = damaged(slide, tmp_path / "d.svs", lambda page, tags: put(tags, "TileByteCounts", 0, count))
    with path.open("ab") as file:
        file.truncate(6 << 30)  # sparse
    refused(path, "tile 0, 0 of level 0 of d.svs claims .* bytes, more than a JPEG of its size can have")


def test_a_tile_that_claims_much_memory_is_a_sentence(slide, tmp_path):
    def change(page, tags):
        tags["TileWidth"].overwrite(32_768)
        tags["TileLength"].overwrite(32_768)

    refused(damaged(slide, tmp_path / "e.svs", change), "says its tiles are 32,768 x 32,768 px, and")


def test_a_slide_that_claims_to_be_larger_than_any_is_a_sentence(slide, tmp_path):
    def change(page, tags):
        for name in ("TileWidth", "TileLength"):
            tags[name].overwrite(8192)
        tags["ImageWidth"].overwrite(8192 * 20 * 5)
        tags["ImageLength"].overwrite(8192 * 4 * 10)

    path = damaged(slide, tmp_path / "f.svs", change)
    refused(path, "says it is 819,200 x 327,680 px, more than any scanner makes", reader="openslide")
    refused(path, r"f.svs has damaged tags: \d+ tiles are listed, and 819,200 x 327,680 px take 4,000")


def test_a_damaged_jpeg_is_a_sentence(slide, tmp_path):
    data = bytearray(slide.read_bytes())
    with tifffile.TiffFile(slide) as file:
        offset, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    for name, wrong in (("g", b"\0" * count), ("h", bytes(data[offset : offset + count // 2]).ljust(count, b"\0"))):
        (tmp_path / f"{name}.svs").write_bytes(data[:offset] + wrong + data[offset + count :])
        refused(tmp_path / f"{name}.svs", f"tile 0, 0 of level 0 of {name}.svs cannot be read: a tile")


def test_stored_tiles_are_read_after_an_error_of_openslide(slide, tmp_path):
    """OpenSlide gives the regions that begin outside of a slide; its handle is lost with an error, the file is not."""
    with tifffile.TiffFile(slide) as file:
        offset, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    data = slide.read_bytes()
    (tmp_path / "k.svs").write_bytes(data[:offset] + b"\0" * count + data[offset + count :])
    good, outside = Region(480, 480, 0, 100, 100), Region(-20, -20, 0, 100, 100)
    with contextlib.closing(open_slide(tmp_path / "k.svs", "stored-tiles")) as opened:
        first, second, third = opened.read_regions([outside, good, outside])
    assert isinstance(first, DataError)
    assert isinstance(third, DataError)
    np.testing.assert_array_equal(second, open_slide(slide, "openslide").read(*good))


def test_a_tile_of_another_size_is_a_sentence(slide, tmp_path):
    path = damaged(slide, tmp_path / "i.svs", lambda page, tags: tags["TileWidth"].overwrite(224))
    refused(path, r"a tile says it is \(240, 240\) px where the file says \(224, 240\)")


def test_what_is_no_slide_is_a_sentence(tmp_path):
    (tmp_path / "j.svs").write_text("a text")
    refused(tmp_path / "j.svs", "cannot be opened")
    tifffile.imwrite(tmp_path / "k.tif", PICTURE[:64, :64])  # not tiled: no level
    refused(tmp_path / "k.tif", "cannot be opened")
    (tmp_path / "l.tif").write_bytes(b"II*\0\0\0\0\0")
    refused(tmp_path / "l.tif", "cannot be opened")

"""Regions of slides as patches: read from slides that stay open, or a reason for each."""

import os
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.slides.drawn import draw
from tests.slides.jpeg_slides import write_jpeg_slide
from wsc_ray.pixels import PixelSource, Unreadable
from wsc_ray.pixels.regions import read_rows
from wsc_ray.pixels.retry import read_all
from wsc_ray.slides import open_slides as module
from wsc_ray.slides.open_slides import OpenSlides
from wsc_ray.slides.opening import open_slide

PICTURE = draw(600, seed=1)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in "abc":
        write_jpeg_slide(tmp_path / f"{name}.svs", [PICTURE[:500, :600], PICTURE[:125, :150]])
    return tmp_path


@pytest.fixture
def slides():
    opened = OpenSlides()
    yield opened
    opened.close()


def row(uri: str, x: int = 0, y: int = 0, **others) -> dict:
    return {"slide_uri": uri, "x": x, "y": y, "level": 0, "patch_size": 64, **others}


def read(rows: list[dict], folder: Path, slides: OpenSlides, retries: int = 0, waits: list | None = None) -> list:
    tries = partial(read_all, retries=retries, sleep=(waits if waits is not None else []).append)
    return read_rows(rows, str(folder), tries, slides)


def test_rows_are_regions_in_their_order(folder, slides):
    rows = [
        row("b.svs", 100, 200),
        row(f"{folder}/a.svs", 5, 7, patch_size_level0=64),
        row(f"file://{folder}/b.svs", 0, 0, level=1),
        row("b.svs", 9, 3, patch_size_level0=128),
        row("b.svs", 100, 200, patch_size_level0=None),
        row("b.svs", 8, 16, level=1, patch_size_level0=512),
    ]
    theirs = open_slide(folder / "b.svs", "openslide")
    found = read(rows, folder, slides)
    np.testing.assert_array_equal(found[0], theirs.read(100, 200, 0, 64, 64))
    np.testing.assert_array_equal(found[1], theirs.read(5, 7, 0, 64, 64))
    np.testing.assert_array_equal(found[2], theirs.read(0, 0, 1, 64, 64))
    half = cv2.resize(theirs.read(9, 3, 0, 128, 128), (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(found[3], half)
    np.testing.assert_array_equal(found[4], found[0])
    half = cv2.resize(theirs.read(8, 16, 1, 128, 128), (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(found[5], half)


def test_a_row_that_cannot_be_read_is_a_reason_and_the_others_are_read(folder, slides):
    (folder / "text.svs").write_text("no slide")
    waits: list = []
    rows = [
        row("a.svs"),
        row("gone.svs"),
        row("text.svs"),
        row("a.svs", level=7),
        row("a.svs", patch_size=0),
        row("a.svs", patch_size=10**6),
        row("a.svs", patch_size_level0=10**6),
        row("nothing://bucket/a.svs"),
        row("a.svs", 1, 1),
    ]
    found = read(rows, folder, slides, 2, waits)
    assert [isinstance(each, str) for each in found] == [False, *[True] * 7, False]
    for reason, said in zip(
        found[1:8],
        (
            "gone.svs is not there",
            "text.svs cannot be opened",
            "a.svs has no level 7",
            "a patch of 0 px",
            "the image is 1,000,000 x 1,000,000 px",
            "the image is 1,000,000 x 1,000,000 px",
            "nothing://bucket/a.svs cannot be opened",
        ),
        strict=True,
    ):
        assert said in reason
        assert "\n" not in reason
    assert waits == [0.5, 1.0], "for the file that is missing, as a mount may be, and once for all"
    (far,) = read_rows([row("a.svs")], "nothing://bucket/m", partial(read_all, retries=0), slides)
    assert "nothing://bucket/m cannot be opened" in far


def test_storage_that_fails_for_a_while_is_asked_again(folder, slides, monkeypatch):
    pread, failed, waits = os.pread, [], []

    def failing(*arguments):
        if len(failed) < 2:
            failed.append(arguments)
            raise OSError(5, "Input/output error")
        return pread(*arguments)

    monkeypatch.setattr(os, "pread", failing)
    first, second = read([row("a.svs"), row("a.svs", 300, 300)], folder, slides, 2, waits)
    assert waits == [0.5]
    assert not isinstance(first, str)
    assert not isinstance(second, str)
    monkeypatch.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    (never,) = read([row("b.svs")], folder, slides, 1, waits)
    assert "cannot be read: Input/output error" in never


def test_slides_stay_open_a_few_at_a_time_and_are_closed(folder, monkeypatch):
    opened: list[str] = []
    closed: list[str] = []
    real = open_slide

    def watched(path, reader):
        slide = real(path, reader)
        opened.append(path.name)
        close = slide.close
        monkeypatch.setattr(slide, "close", lambda: (closed.append(path.name), close()))
        return slide

    monkeypatch.setattr(module, "open_slide", watched)
    slides = OpenSlides(kept=2)
    for name in ("a", "a", "b", "c", "b", "a"):
        assert not isinstance(read([row(f"{name}.svs")], folder, slides)[0], str)
    assert opened == ["a.svs", "b.svs", "c.svs", "a.svs"]
    assert closed == ["a.svs", "c.svs"]
    write_jpeg_slide(folder / "b.svs", [255 - PICTURE[:300, :300]])
    (anew,) = read([row("b.svs")], folder, slides)
    np.testing.assert_array_equal(anew, real(folder / "b.svs", "openslide").read(0, 0, 0, 64, 64))
    slides.close()
    assert sorted(closed) == sorted(opened)


def test_no_more_than_some_are_used_at_a_time(folder):
    slides = OpenSlides(used=2)
    most, now, lock = [0], [0], threading.Lock()
    gate = threading.Barrier(2)

    def use():
        with slides.slide(folder / "a.svs"):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            gate.wait(20)
            with lock:
                now[0] -= 1

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [2]
    slides.close()


def test_the_source_of_a_manifest_reads_them(folder):
    source = PixelSource(["slide_id", "slide_uri", "x", "y", "level", "patch_size", "patch_size_level0"], str(folder))
    assert source.columns == ("slide_uri", "x", "y", "level", "patch_size", "patch_size_level0")
    image, reason = source.read([row("a.svs", 40, 30), row("gone.svs")])
    assert image.shape == (64, 64, 3)
    assert isinstance(reason, Unreadable)

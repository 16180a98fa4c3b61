"""The contenders that cut a slide into JPEG patches, each from end to end: open, read, encode, close."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.patches import Square, read_patches
from wsc_ray.tiling.cut import encode

QUALITY = 90  # of the patches, as `tile` has it
LOOP, STORED, CUCIM = "OpenSlide loop", "wsc-ray", "wsc-ray, --reader cucim"
Corners = Sequence[tuple[int, int]]
Cut = Callable[[Path, Corners, int], int]  # path, upper left corners and side in px -> bytes of all patches


def openslide_loop(path: Path, corners: Corners, size: int) -> int:
    """What people write: `read_region` a patch, its RGB, a JPEG; the encoder is ours, which is faster than Pillow's."""
    import openslide

    done = 0
    with openslide.OpenSlide(path) as slide:
        for corner in corners:
            patch = slide.read_region(corner, 0, (size, size)).convert("RGB")
            done += len(encode(np.asarray(patch), QUALITY))
    return done


def _ours(reader: str) -> Cut:
    def cut(path: Path, corners: Corners, size: int) -> int:
        slide = open_slide(path, reader)
        done = 0
        for patch in read_patches(slide, [Square(x, y, 0, size, size) for x, y in corners]):
            assert isinstance(patch, np.ndarray), patch
            done += len(encode(patch, QUALITY))
        slide.close()
        return done

    return cut


def contenders() -> dict[str, Cut]:
    """Those that are installed here, by name."""
    found: dict[str, Cut] = {LOOP: openslide_loop, STORED: _ours("stored-tiles")}
    if importlib.util.find_spec("cucim") is not None:
        found[CUCIM] = _ours("cucim")
    return found

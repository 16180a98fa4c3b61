"""`slide_uri`: patches that are regions of slides, read from the slides themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.pixels.convert import check_size
from wsc_ray.slides.open_slides import OpenSlides
from wsc_ray.slides.patches import Square, read_patches
from wsc_ray.slides.slide import Slide

_OPEN = OpenSlides()  # of this process: sources come and go with every window


def read_rows(
    rows: Sequence[Mapping[str, Any]],
    folder: str,
    read_all: Callable[[Iterable[Any], Callable[[Any], Any]], tuple[dict[Any, Any], dict[Any, str]]],
    slides: OpenSlides = _OPEN,
) -> list[np.ndarray | str]:
    """The patch of each row, in order, (h, w, 3) uint8, RGB, or the reason why there is none.

    Each slide is opened once, and its patches are read along its rows of tiles.

    Args:
        rows: `slide_uri`, `x`, `y`, `level`, `patch_size` and, where it is known, `patch_size_level0`.
        folder: where relative paths start.
        read_all: see `wsc_ray.pixels.retry`; its keys are slides here.
    """
    of: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        of.setdefault(row["slide_uri"], []).append(number)
    found: dict[int, np.ndarray | str] = {}

    def read(uri: str) -> None:
        with slides.slide(_path(uri, folder)) as slide:
            squares: dict[int, Square] = {}
            for number in of[uri]:
                try:
                    squares[number] = _square(rows[number], slide)
                except DataError as error:
                    found[number] = str(error)
            order = sorted(squares.keys() - found.keys(), key=lambda number: _along(squares[number]))
            again: DataError | None = None
            patches = read_patches(slide, [squares[number] for number in order])
            for number, patch in zip(order, patches, strict=True):
                if not isinstance(patch, DataError):
                    found[number] = patch
                elif isinstance(patch.__cause__, OSError):  # of storage, which may answer the next time
                    again = patch
                else:
                    found[number] = str(patch)
        if again is not None:
            raise again

    _, failed = read_all(of, read)
    for uri, reason in failed.items():
        for number in of[uri]:
            found.setdefault(number, reason)
    return [found[number] for number in range(len(rows))]


def _path(uri: str, folder: str) -> Path:
    uri, folder = uri.removeprefix("file://"), folder.removeprefix("file://")
    if "://" in uri or ("://" in folder and not uri.startswith("/")):
        raise DataError(f"the slide {uri} is an object, and slides are read from a path that every node mounts")
    return Path(folder, uri)


def _square(row: Mapping[str, Any], slide: Slide) -> Square:
    level, size = row["level"], row["patch_size"]
    if not 0 <= level < len(slide.downsamples) or math.isinf(slide.downsamples[level]):
        raise DataError(f"level {level} of {row['slide_uri']} is none of its levels")
    side = row.get("patch_size_level0")
    read = size if side is None else round(side / slide.downsamples[level])  # `tile` rounded it to px of level 0
    if size < 1 or read < 1:
        raise DataError(f"a patch of {size} px, {side} px at level 0, is none")
    for px in (size, read):
        check_size(px, px)
    return Square(row["x"], row["y"], level, read, size)


def _along(square: Square) -> tuple[int, int, int]:
    return square.level, square.y, square.x

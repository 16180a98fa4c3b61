"""`slide_uri`: read patches that are regions of slides from the slides themselves."""

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
from wsc_ray.storage import AnyPath, as_path

_OPEN = OpenSlides()  # shared in this process, since every window makes a new source


def read_rows(
    rows: Sequence[Mapping[str, Any]],
    folder: str,
    read_all: Callable[[Iterable[Any], Callable[[Any], Any]], tuple[dict[Any, Any], dict[Any, str]]],
    slides: OpenSlides = _OPEN,
) -> list[np.ndarray | str]:
    """Return the patch of each row, in order, (h, w, 3) uint8, RGB, or the reason why it cannot be read.

    Each slide is opened once, and its patches are read along its rows of tiles.

    Args:
        rows: `slide_uri`, `x`, `y`, `level`, `patch_size` and, where it is known, `patch_size_level0`.
        folder: the folder where relative paths start, a path or URI.
        read_all: see `wsc_ray.pixels.retry`; its keys are slides here.
    """
    rows_of: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        rows_of.setdefault(row["slide_uri"], []).append(number)
    results: dict[int, np.ndarray | str] = {}

    def read(uri: str) -> None:
        with slides.slide(_path(uri, folder)) as slide:
            squares: dict[int, Square] = {}
            for number in rows_of[uri]:
                try:
                    squares[number] = _square(rows[number], slide)
                except DataError as error:
                    results[number] = str(error)
            order = sorted(squares.keys() - results.keys(), key=lambda number: _reading_order(squares[number]))
            again: DataError | None = None
            patches = read_patches(slide, [squares[number] for number in order])
            for number, patch in zip(order, patches, strict=True):
                if not isinstance(patch, DataError):
                    results[number] = patch
                elif isinstance(patch.__cause__, OSError):  # an error of storage, which may answer the next time
                    again = patch
                else:
                    results[number] = str(patch)
        if again is not None:
            raise again

    _, failed = read_all(rows_of, read)
    for uri, reason in failed.items():
        for number in rows_of[uri]:
            results.setdefault(number, reason)
    return [results[number] for number in range(len(rows))]


def _path(uri: str, folder: str) -> AnyPath:
    """Return the place of a slide; a relative one starts from the folder."""
    uri = uri.removeprefix("file://")
    if "://" in uri:
        return as_path(uri)
    place = as_path(folder)
    return Path(uri) if uri.startswith("/") else place / uri


def _square(row: Mapping[str, Any], slide: Slide) -> Square:
    level, size = row["level"], row["patch_size"]
    if not 0 <= level < len(slide.downsamples) or math.isinf(slide.downsamples[level]):
        raise DataError(f"{row['slide_uri']} has no level {level}")
    side = row.get("patch_size_level0")
    read = size if side is None else round(side / slide.downsamples[level])  # `tile` rounds the side to px of level 0
    if size < 1 or read < 1:
        raise DataError(f"a patch of {size} px, {side} px at level 0, is empty")
    for px in (size, read):
        check_size(px, px)
    return Square(row["x"], row["y"], level, read, size)


def _reading_order(square: Square) -> tuple[int, int, int]:
    return square.level, square.y, square.x

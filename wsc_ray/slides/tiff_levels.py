"""The offsets of the tiles of each level in a tiled TIFF, found with tifffile."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.jpeg_tiles import RGB, YCBCR, read_tables

_JPEG, _CONTIGUOUS, _REDUCED = 7, 1, 1  # values of tags in TIFF 6.0
_COLOURS = {2: RGB, 6: YCBCR}  # by the value of PhotometricInterpretation
# What tifffile raises on damaged files; its own error is a ValueError.
DAMAGED = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error)


@dataclass(frozen=True)
class TiledLevel:
    """A level whose tiles are JPEGs with three components.

    Attributes:
        tile: width and height of a tile, px.
        across, down: number of tiles in x and y.
        offsets, counts: offset and length of each tile in the file, row by row, bytes, (across * down,); a missing tile has length 0.
        tables: the segments of JPEGTables, which all tiles share.
        colours: `RGB` or `YCBCR`.
        complete: whether no tile is missing.
    """

    tile: tuple[int, int]
    across: int
    down: int
    offsets: np.ndarray
    counts: np.ndarray
    tables: bytes
    colours: bytes
    complete: bool


def tiled_levels(
    path: Path, sizes: Sequence[tuple[int, int]], *, padded: bool, reduced: bool
) -> list[TiledLevel | None]:
    """Return the tiles of each level; None for a level that is stored in another way.

    Args:
        sizes: width and height of each level, px, the largest first.
        padded: whether the file gives levels a size rounded up to whole tiles, as Philips does.
        reduced: whether the tag NewSubfileType marks every level but the first.

    Raises:
        DataError: the file is damaged.
    """
    import tifffile

    try:
        # Opened here, since tifffile resolves links, and the head of an object is found by one (`wsc_ray.slides.objects`).
        with path.open("rb") as opened, tifffile.TiffFile(opened) as file:
            pages = [page for page in _tiled(file) if page.index == 0 or not reduced or page.subfiletype & _REDUCED]
            pages.sort(key=lambda page: -page.imagewidth)
            told = [(page.imagewidth, page.imagelength) for page in pages]
            if len(pages) != len(sizes):
                return [None] * len(sizes)
            # Two levels of equal size are ambiguous, unless the file keeps levels in order, as Philips' files do.
            return [
                _level(page, size, padded) if padded or told.count(own) == 1 else None
                for page, own, size in zip(pages, told, sizes, strict=True)
            ]
    except DAMAGED as error:
        raise DataError(
            f"{path} has damaged tags: {str(error).splitlines()[0] if str(error) else repr(error)}"
        ) from None


def _tiled(file: Any) -> Iterator[Any]:
    return (page for page in file.pages if page.is_tiled)


def _level(page: Any, size: tuple[int, int], padded: bool) -> TiledLevel | None:
    told, tile = (page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength)
    if told != size and not (padded and told[0] >= size[0] and told[1] >= size[1]):
        return None
    if page.compression != _JPEG or page.planarconfig != _CONTIGUOUS or page.photometric not in _COLOURS:
        return None
    if page.bitspersample != 8 or page.samplesperpixel != 3:
        return None
    across, down = (-(-whole // part) for whole, part in zip(told, tile, strict=True))
    offsets, counts = (np.asarray(values, np.int64) for values in (page.dataoffsets, page.databytecounts))
    listed = min(len(offsets), len(counts))
    if listed < across * down:  # OpenSlide would show other tiles in their place
        raise ValueError(f"{listed:,} tiles are listed, and {told[0]:,} x {told[1]:,} px take {across * down:,}")
    if max(len(offsets), len(counts)) > across * down:
        return None
    tables, colours = read_tables(page.jpegtables), _COLOURS[page.photometric]
    return TiledLevel(tile, across, down, offsets, counts, tables, colours, bool(counts.all()))

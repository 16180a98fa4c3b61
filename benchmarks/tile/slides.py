"""Synthetic slides of any size for the comparison: tiles of H&E-like tissue, one TIFF per slide."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile

from wsc_ray.demo.tissue import draw_patch, draw_stain
from wsc_ray.files import atomic

TILE, DISTINCT = 240, 48  # px, as Aperio's; and tiles that are drawn, in random order all over a slide
_JPEG, _YCBCR = 7, 6  # Compression and PhotometricInterpretation of TIFF 6.0
_APERIO = "Aperio Image Library v10\n{side}x{side} (240x240) JPEG/YCC Q=80|AppMag = 20|MPP = 0.4990"


def drawn_slide(folder: Path, side: int, *, jpeg: bool) -> Path:
    """A slide of `side` px, one level, made unless an earlier benchmark has left it there.

    Args:
        jpeg: Aperio's SVS with JPEG tiles (4:2:0, quality 80); else a generic TIFF with deflated ones.
    """
    path = folder / f"drawn-{side}.{'svs' if jpeg else 'tif'}"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    stain = draw_stain(rng)
    encode: Callable[[np.ndarray], bytes] = jpeg_tile if jpeg else lambda tile: zlib.compress(tile.tobytes(), 6)
    tiles = [encode(draw_patch(rng, number % 2 == 1, stain, TILE)) for number in range(DISTINCT)]
    count = (-(-side // TILE)) ** 2
    write_slide(path, [(side, (tiles[number] for number in rng.integers(DISTINCT, size=count)))], jpeg=jpeg)
    return path


def write_slide(path: Path, levels: Sequence[tuple[int, Iterable[bytes]]], *, jpeg: bool) -> None:
    """Write a square slide.

    Args:
        levels: side of each level in px, the largest first, and its encoded tiles of `TILE` px, row by row.
        jpeg: tiles are of `jpeg_tile`, and the slide is Aperio's SVS; else they are deflated, and it is a generic TIFF.
    """
    with atomic(path) as temporary:
        with tifffile.TiffWriter(temporary, bigtiff=True) as file:
            for side, tiles in levels:
                file.write(
                    iter(tiles),
                    shape=(side, side, 3),
                    dtype=np.uint8,
                    tile=(TILE, TILE),
                    photometric="rgb",
                    compression="zlib",  # which tifffile knows by itself; the tags of JPEG are put below
                    description=_APERIO.format(side=side) if jpeg else None,
                    metadata=None,
                    software=False,
                )
        if jpeg:
            with tifffile.TiffFile(temporary, mode="r+b") as file:
                for page in file.pages:
                    page.tags["Compression"].overwrite(_JPEG)
                    page.tags["PhotometricInterpretation"].overwrite(_YCBCR)


def jpeg_tile(tile: np.ndarray) -> bytes:
    """A tile, (TILE, TILE, 3) uint8, as Aperio's scanners encode it."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(tile), quality=80, colorsubsampling="420")

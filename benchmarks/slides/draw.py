"""Drawn slides as scanners write them: a disc of tissue on glass, stored as JPEG tiles, with smaller levels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from benchmarks.tile.slides import TILE, jpeg_tile, write_slide
from wsc_ray.demo.tissue import draw_patch, draw_stain

DISTINCT = 24  # tiles of tissue that are drawn for a slide, in random order all over it
GLASS, RADIUS = 244, 0.47  # grey value; radius of the disc of tissue, of the slide's side
LEVELS = 4  # each half as wide as the one before, so that a thumbnail takes little, as of a slide of any size


def drawn_slides(folder: Path, count: int, side: int) -> list[Path]:
    """Paths of `count` slides of `side` px, each made unless an earlier benchmark has left it there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"drawn-{number:03d}.svs" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            _draw(path, side, np.random.default_rng([number, side]), tumour=number % 2 == 1)
    return paths


def _draw(path: Path, side: int, rng: np.random.Generator, *, tumour: bool) -> None:
    stain = draw_stain(rng)
    tiles = [np.full((TILE, TILE, 3), GLASS, np.uint8)]
    tiles += [draw_patch(rng, tumour, stain, TILE) for _ in range(DISTINCT)]
    encoded = [jpeg_tile(tile) for tile in tiles]
    places = _places(-(-side // TILE), rng)
    levels = [(side, iter([encoded[number] for number in places.ravel()]))]
    levels += [_smaller(tiles, places, side, 2**level) for level in range(1, LEVELS)]
    write_slide(path, levels, jpeg=True)


def _places(across: int, rng: np.random.Generator) -> np.ndarray:
    """Return the number of the tile at each place, (across, across): 0, glass, outside of the disc."""
    middle = np.arange(across) + 0.5 - across / 2
    inside = middle[:, None] ** 2 + middle**2 <= (RADIUS * across) ** 2
    return np.where(inside, rng.integers(1, 1 + DISTINCT, size=(across, across)), 0)


def _smaller(tiles: list[np.ndarray], places: np.ndarray, side: int, down: int) -> tuple[int, Iterator[bytes]]:
    """Return the side and the encoded tiles of a smaller level."""
    px = TILE // down
    small = np.stack([cv2.resize(tile, (px, px), interpolation=cv2.INTER_AREA) for tile in tiles])
    picture = small[places].swapaxes(1, 2).reshape(len(places) * px, len(places) * px, 3)
    size = side // down
    across = -(-size // TILE)
    whole = np.full((across * TILE, across * TILE, 3), GLASS, np.uint8)
    whole[: len(picture), : len(picture)] = picture
    rows = range(0, across * TILE, TILE)
    return size, iter([jpeg_tile(whole[y : y + TILE, x : x + TILE]) for y in rows for x in rows])

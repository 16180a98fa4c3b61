"""The patches with most of the attention, and the outlines of the areas that they form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import Polygon

HALF = 0.5  # of a slide's attention


@dataclass(frozen=True, eq=False)
class Area:
    """Patches that touch or overlap: their outline in level-0 px, with holes, and their indices, (k,) int64."""

    outline: Polygon
    patches: np.ndarray


def high_attention(attention: np.ndarray, share: float = HALF) -> np.ndarray:
    """Return the fewest patches that together have this share of the attention, except patches with at most an even share each.

    Patches with equal attention are taken or left together.

    Args:
        attention: (N,), at least 0.

    Returns:
        (N,) bool; all False if all patches have the same attention.
    """
    if not len(attention):
        return np.zeros(0, bool)
    values = attention.astype(np.float64)
    total = values.sum()
    ordered = np.sort(values)[::-1]
    enough = int(np.searchsorted(np.cumsum(ordered), share * total * (1 - 1e-9)))
    threshold = ordered[min(enough, len(ordered) - 1)]
    return (values >= threshold) & (values > total / len(values) * (1 + 1e-6))


def areas(corners: np.ndarray, size: int) -> list[Area]:
    """Merge squares that touch along a side or overlap; return the areas, the one with most patches first.

    Args:
        corners: (N, 2) int64, upper left corners, level-0 px.
        size: side of a square, level-0 px.
    """
    if not len(corners):
        return []
    low = corners.astype(np.float64)
    high = low + size
    closed = high + _parted(corners, size)
    union = shapely.union_all(shapely.box(low[:, 0], low[:, 1], closed[:, 0], closed[:, 1]))
    parts = shapely.get_parts(shapely.simplify(union, 0))  # without the points along straight sides
    centres = shapely.points((low + high) / 2)
    centre, part = shapely.STRtree(parts).query(centres, predicate="intersects")
    found = [Area(outline, np.sort(centre[part == number])) for number, outline in enumerate(parts)]
    return sorted(found, key=lambda area: (-len(area.patches), area.outline.bounds))


def _parted(corners: np.ndarray, size: int) -> np.ndarray:
    """Return 1 where a gap of one px parts a square from its neighbour to the right or below, else 0; (N, 2) int64, x and y.

    The corners of a grid at a scale between two levels are rounded one by one, which leaves such gaps between some neighbours.
    """
    places = set(map(tuple, corners.tolist()))
    step = size + 1
    return np.array([((x + step, y) in places, (x, y + step) in places) for x, y in corners.tolist()], np.int64)

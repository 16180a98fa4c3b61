"""TRIDENT's attributes of a slide's coordinates, from its patches (https://github.com/mahmoodlab/TRIDENT), and `mpp`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def coords_attributes(first: Mapping[str, Any], coords: np.ndarray) -> dict[str, Any]:
    """`patch_size`, `patch_size_level0`, `overlap`, `target_magnification` and `mpp`, as far as they are known.

    Args:
        first: a row of the manifest; all patches of a slide are of one size and scale.
        coords: (n, 2) int64, level-0 px.
    """
    attributes: dict[str, Any] = {"overlap": 0}
    if first.get("patch_size"):
        attributes["patch_size"] = first["patch_size"]
        if first.get("level") == 0:
            attributes["patch_size_level0"] = first["patch_size"]
    if first.get("patch_size_level0"):
        attributes["patch_size_level0"] = first["patch_size_level0"]
        attributes["overlap"] = overlap(coords, first["patch_size_level0"], first.get("patch_size") or 0)
    if first.get("mpp"):
        attributes["target_magnification"] = round(10 / first["mpp"], 2)  # 10x is 1 um/px by the usual convention
        attributes["mpp"] = float(first["mpp"])  # exactly, which a magnification of two digits is not
    return attributes


def overlap(coords: np.ndarray, size_level0: int, size: int) -> int:
    """How much neighbouring patches share, px as stored, told from where they lie: from the most frequent distance of two
    that follow each other in a row, since a slide's pieces may have grids of their own.

    Args:
        coords: (n, 2) int64, level-0 px.
        size_level0, size: side of a patch, px at level 0 and as stored.
    """
    x, y = coords[np.lexsort(coords.T)].T
    steps, counts = np.unique(np.diff(x)[np.diff(y) == 0], return_counts=True)
    step = int(steps[counts.argmax()]) if len(steps) else size_level0
    return max(0, round((size_level0 - step) * size / size_level0))

"""Compute TRIDENT's attributes of a slide's coordinates (https://github.com/mahmoodlab/TRIDENT), and `mpp`, from its patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.scale import TOLERANCE


def coords_attributes(first: Mapping[str, Any], coords: np.ndarray) -> dict[str, Any]:
    """Return `patch_size`, `patch_size_level0`, `overlap`, `target_magnification` and `mpp`, as far as they are known.

    Args:
        first: a row of the manifest; all patches of a slide have one size and scale.
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


def check_scale(slide_id: str, scales: Iterable[float | None]) -> None:
    """Refuse patches of several scales: a slide's features and their attributes are of one.

    Args:
        scales: um/px of patches of the slide, None where unknown.

    Raises:
        DataError: they differ by more than scanners' scales do.
    """
    known = [scale for scale in scales if scale]
    if known and max(known) > min(known) * (1 + TOLERANCE):
        raise DataError(
            f"slide {slide_id} has patches at {min(known):.3g} and at {max(known):.3g} um/px, and its features are of one scale; "
            "cut the slides at one --mpp to embed them (`tile --link` copies no pixels)"
        )


def overlap(coords: np.ndarray, size_level0: int, size: int) -> int:
    """Return how much neighbouring patches overlap, px as stored.

    This follows from the most frequent distance between successive patches of a row of the grid; it need not be the only
    distance, since a slide's pieces of tissue may have grids of their own.

    Args:
        coords: (n, 2) int64, level-0 px.
        size_level0, size: side of a patch, px at level 0 and as stored.
    """
    x, y = coords[np.lexsort(coords.T)].T
    steps, counts = np.unique(np.diff(x)[np.diff(y) == 0], return_counts=True)
    step = int(steps[counts.argmax()]) if len(steps) else size_level0
    return max(0, round((size_level0 - step) * size / size_level0))

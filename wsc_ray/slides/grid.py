"""The grid of patches on a slide, and the share of tissue in each patch."""

from __future__ import annotations

import numpy as np


def grid(scanned: tuple[int, int, int, int], size: float, step: float) -> np.ndarray:
    """Return the upper left corners of the patches inside the scanned part, row by row; (n, 2) int64, x and y.

    Args:
        scanned: x, y, width, height, level-0 px.
        size, step: side of a patch and distance between neighbours, level-0 px; in general not whole numbers.
    """
    left, top, width, height = scanned
    x, y = (left + _steps(width, size, step), top + _steps(height, size, step))
    return np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1)


def covered(mask: np.ndarray, corners: np.ndarray, size: float, px: float) -> np.ndarray:
    """Return the share of each patch that the mask covers, (n,) float64.

    Args:
        mask: (h, w) bool, one value per `px` x `px` level-0 px.
        corners: (n, 2), level-0 px.
        size: side of a patch, level-0 px.
    """
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    ends = np.array([mask.shape[1], mask.shape[0]])
    low = np.minimum(np.round(corners / px).astype(np.int64), ends - 1)
    high = np.minimum(np.maximum(np.round((corners + size) / px).astype(np.int64), low + 1), ends)
    (x0, y0), (x1, y1) = low.T, high.T
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return inside / ((x1 - x0) * (y1 - y0))


def _steps(length: int, size: float, step: float) -> np.ndarray:
    count = max(0, int(np.floor((length - size) / step + 1e-9)) + 1) if length >= size else 0
    return np.floor(np.arange(count) * step + 0.5).astype(np.int64)

"""Removing the small pieces and holes of a mask, selecting pieces, and the box around a mask."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np


def without_small(mask: np.ndarray, least: int) -> np.ndarray:
    """Return a mask, (h, w) bool, without its pieces of fewer than `least` px. Px that touch at a corner belong to one piece; the
    holes of a piece count as part of it."""
    outlines, of = _outlines(mask)
    small = (each for each, parent in zip(outlines, of, strict=True) if parent < 0 and _enclosed(each, 1) < least)
    return _filled(mask, small, 0)


def without_holes(mask: np.ndarray, least: int) -> np.ndarray:
    """Return a mask, (h, w) bool, with its holes of fewer than `least` px filled; pieces inside a hole count as part of it."""
    outlines, of = _outlines(mask)
    small = (each for each, parent in zip(outlines, of, strict=True) if parent >= 0 and _enclosed(each, -1) < least)
    return _filled(mask, small, 1)


def connected(mask: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Return the pieces of a mask that hold at least one px of `sure`; all (h, w) bool."""
    found = mask & sure
    rest = mask & ~sure  # usually few px: a piece of these is kept if it touches one that is sure
    count, pieces = cv2.connectedComponents(rest.view(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[pieces[rest & _grown(found)]] = True
    found[rest] = kept.take(pieces[rest])
    return found


def box_of(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns that a mask covers, with `margin` px around them inside the picture; at least one px."""
    found = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        (at,) = np.nonzero(mask.any(axis=axis))
        low, high = (int(at[0]), int(at[-1])) if len(at) else (0, 0)
        found.append(slice(max(0, low - margin), min(length, high + 1 + margin)))
    rows, columns = found
    return rows, columns


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return a mask with the eight px around each of its px."""
    return cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)


def _outlines(mask: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Return the outlines of pieces and holes, and for each hole the index of its piece, for each piece -1."""
    outlines, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return list(outlines), [] if hierarchy is None else hierarchy[0, :, 3].tolist()


def _enclosed(outline: np.ndarray, edge: int) -> float:
    """Return the number of px inside an outline, with (`edge` 1) or without (-1) the px on it, by Pick's theorem."""
    return cv2.contourArea(outline) + edge * len(outline) / 2 + 1


def _filled(mask: np.ndarray, outlines: Iterable[np.ndarray], value: int) -> np.ndarray:
    drawn = mask.astype(np.uint8)
    cv2.drawContours(drawn, list(outlines), -1, value, cv2.FILLED)
    return drawn.astype(bool)

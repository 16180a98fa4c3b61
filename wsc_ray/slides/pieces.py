"""Removing the small pieces and holes of a mask, and selecting pieces."""

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
    count, pieces = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    of = pieces[mask]
    kept = np.zeros(count, bool)
    kept[of[sure[mask]]] = True
    found = np.zeros(mask.shape, bool)
    found[mask] = kept.take(of)
    return found


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

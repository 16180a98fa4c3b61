"""Pieces of a mask, and its holes, by their size."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np


def without_small(mask: np.ndarray, least: int) -> np.ndarray:
    """A mask, (h, w) bool, without its pieces of fewer than `least` px; px that touch by a corner are of one piece, and what it
    encloses counts as part of it."""
    outlines, of = _outlines(mask)
    small = (each for each, parent in zip(outlines, of, strict=True) if parent < 0 and _enclosed(each, 1) < least)
    return _filled(mask, small, 0)


def without_holes(mask: np.ndarray, least: int) -> np.ndarray:
    """A mask, (h, w) bool, with its holes of fewer than `least` px filled; what lies in a hole counts as part of it."""
    outlines, of = _outlines(mask)
    small = (each for each, parent in zip(outlines, of, strict=True) if parent >= 0 and _enclosed(each, -1) < least)
    return _filled(mask, small, 1)


def connected(mask: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """The pieces of a mask that hold something of `sure`; (h, w) bool each."""
    count, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[pieces[mask & sure]] = True
    return kept[pieces]


def _outlines(mask: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """The outlines of pieces and of holes; and of each, the piece that it is a hole of, or -1."""
    outlines, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return list(outlines), [] if hierarchy is None else hierarchy[0, :, 3].tolist()


def _enclosed(outline: np.ndarray, edge: int) -> float:
    """How many px an outline encloses, with (1) or without (-1) those that it goes through: Pick's theorem."""
    return cv2.contourArea(outline) + edge * len(outline) / 2 + 1


def _filled(mask: np.ndarray, outlines: Iterable[np.ndarray], value: int) -> np.ndarray:
    drawn = mask.astype(np.uint8)
    cv2.drawContours(drawn, list(outlines), -1, value, cv2.FILLED)
    return drawn.astype(bool)

"""Pen marks on a small picture of a slide: colours that no common stain has, found with k-means over colours.

Haematoxylin and eosin are purple, blue-violet and pink, DAB is brown; felt pens are green, blue, red, orange or black. Where
a pen and a stain have similar hues (blue pens and haematoxylin, red pens and blood), the pen is more vivid. The bounds below separate
the colours of common pens from those of real and simulated stains. Colours are in CIE Lab, as hue angle and chroma.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from wsc_ray.slides.focus import detail
from wsc_ray.slides.pieces import box_of, without_small

# Range of hue angles in degrees, and smallest chroma of a pen; other hues are those of stains.
PENS = (
    (25, 105, 60),  # red, orange, yellow: brown (DAB) and blood are duller
    (105, 200, 14),  # green
    (200, 235, 18),  # turquoise
    (235, 285, 38),  # blue: haematoxylin beside DAB is duller
    (285, 298, 46),
    (298, 310, 66),  # violet blue: a hue of haematoxylin too
)
BLACK = (72, 12)  # lightness (0 to 255) and chroma below which a px is black: pens, and the black around a scan
CLUSTERS = 10
SAMPLE = 16_384  # px in the sample for k-means, about
ROUNDS = 10
GROW = 13  # px: diameter of the dilation that adds the soft, paler edge of a mark
STAIN = (1 / 3, 2.5)  # share of the coloured px, and detail, above which a colour is a stain; see `find_pen`
Lab = tuple[np.ndarray, np.ndarray, np.ndarray]

_SHIFT = 3  # lowest bits of L, a and b, ignored when colours are assigned to clusters


def find_pen(lab: Lab, coloured: np.ndarray, lightness: np.ndarray, least: int) -> np.ndarray:
    """Return the pen marks, (h, w) bool, including black ones.

    Colours are clustered first, so that single px of a stain beyond a bound stay with the rest of the stain. Some stains, such as
    trichrome, are green or blue. Clusters with a pen's colour are therefore a stain if they hold more than `STAIN[0]` of all coloured
    px and their median detail is above `STAIN[1]`: tissue has detail, and ink is smooth.

    Args:
        lab: L, a and b, each (h, w) uint8, in OpenCV's scale: L from 0 to 255, a and b centred at 128.
        coloured: (h, w) bool, px that are not glass.
        lightness: (h, w) uint8; a px's detail is what a small blur removes from it.
        least: size of the smallest mark, px.
    """
    marks = lab[0] < BLACK[0]
    marks[marks] = _chroma(_at(lab, marks)) < BLACK[1]
    count = np.count_nonzero(coloured)
    if count > CLUSTERS:
        colours = [channel[coloured] for channel in lab]  # ten times as fast as indexing three channels at once
        step = max(1, count // SAMPLE)
        centres = _cluster(np.stack([each[::step] for each in colours], axis=1).astype(np.float32))
        pens = is_pen(centres)
        if pens.any():
            inked = np.zeros(coloured.shape, bool)
            inked[coloured] = pens[_nearest(centres)].take(_bin(colours))
            share = np.count_nonzero(inked) / count
            if share and not (share > STAIN[0] and np.median(np.abs(detail(lightness)[inked])) > STAIN[1]):
                marks |= inked
    box = box_of(marks, GROW)  # marks are few
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (GROW, GROW))
    marks[box] = cv2.dilate(without_small(marks[box], least).astype(np.uint8), disc)
    return marks


def is_pen(colours: np.ndarray) -> np.ndarray:
    """Return whether colours are those of a pen, (n,) bool.

    Args:
        colours: (n, 3), Lab as in `find_pen`.
    """
    hue, chroma = np.degrees(np.arctan2(colours[:, 2] - 128.0, colours[:, 1] - 128.0)) % 360, _chroma(colours)
    return np.any([(low <= hue) & (hue < high) & (chroma >= least) for low, high, least in PENS], axis=0)


def _at(lab: Lab, mask: np.ndarray) -> np.ndarray:
    """Return the colours of a mask's px, (n, 3)."""
    return np.stack([channel[mask] for channel in lab], axis=1)


def _chroma(colours: np.ndarray) -> np.ndarray:
    return np.hypot(colours[:, 1] - 128.0, colours[:, 2] - 128.0)


def _cluster(colours: np.ndarray) -> np.ndarray:
    """Return the centres of k-means, (`CLUSTERS`, 3). It starts, without randomness, from equal parts of the colours sorted by hue."""
    hue = np.arctan2(colours[:, 2] - 128, colours[:, 1] - 128)
    start = np.empty(len(colours), np.int32)
    start[np.argsort(hue, kind="stable")] = np.arange(len(colours)) * CLUSTERS // len(colours)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, ROUNDS, 1.0)
    _, _, centres = cv2.kmeans(colours, CLUSTERS, start, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return centres


def _nearest(centres: np.ndarray) -> np.ndarray:
    """Return the cluster of each bin of colours, (32 ** 3,)."""
    side = (np.arange(256 >> _SHIFT) + 0.5) * (1 << _SHIFT)
    bins = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = (centres**2).sum(axis=1) - 2 * bins @ centres.T  # squared distance, less the bin's own squared length
    return distance.argmin(axis=1)


def _bin(colours: Sequence[np.ndarray]) -> np.ndarray:
    x, y, z = ((each >> _SHIFT).astype(np.uint16) for each in colours)
    return (x << 2 * (8 - _SHIFT)) + (y << (8 - _SHIFT)) + z

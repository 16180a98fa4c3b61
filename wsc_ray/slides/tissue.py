"""The tissue of a slide, found by its colour against the glass, on a small picture of the whole slide (8 um/px).

Tissue is where the colour of a px is far from that of the glass, by Otsu's threshold. The threshold has bounds, so that a picture of
nothing but glass is not divided into tissue and glass. Paler px belong to the tissue that they are connected with (hysteresis). Pen
marks, found by k-means over colours (`wsc_ray.slides.pen`), black, and tissue that is out of focus (`wsc_ray.slides.focus`) are left
out. `python -m benchmarks.tissue` measures the CPU seconds that this takes.

The bounds were set on H&E; brown (DAB) and blue (trichrome) stains are found too. Fat and unstained tissue that are connected with
nothing darker can be missed: check the page `slides.html`, or give masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from wsc_ray.slides.focus import out_of_focus
from wsc_ray.slides.pen import Lab, find_pen
from wsc_ray.slides.picture import MPP
from wsc_ray.slides.pieces import box_of, connected, without_holes, without_small

BLUR = 5  # px: side of the median filter
GLASS = (204, 10, 0.01)  # lightness (0 to 255) above and chroma below which px can be glass; their smallest share
SURE = (5, 10)  # distance in a and b from the glass: bounds of Otsu's threshold
PALE = 4  # smallest distance in a and b of tissue from the glass
CLOSE = 7  # px: gaps between cells up to this are closed
SPECK = 0.01  # mm^2: smaller pieces are dust
HOLE = 0.05  # mm^2: smaller holes are lumina and folds, which belong to the tissue around them
MARK = 0.02  # mm^2: smaller marks are ink on the edge of the tissue
MARGIN = 32  # px around the coloured part of a picture that are included
UNFOCUSED = 0.1  # mm^2: smaller areas without detail count as in focus, since some tissue has none
_ROWS = 64  # of a picture, that are worked on at a time where a px does not depend on rows far away
_PARTS = 4  # parts of a unit in which distances from the glass are stored


@dataclass(frozen=True)
class Tissue:
    """Masks of a picture, (h, w) bool each; no px is in two of them.

    Attributes:
        mask: tissue in focus.
        pen: pen marks and black, on tissue or beside it.
        blurred: tissue that is out of focus.
    """

    mask: np.ndarray
    pen: np.ndarray
    blurred: np.ndarray


def find_tissue(picture: np.ndarray) -> Tissue:
    """Find the tissue on a picture.

    Args:
        picture: (h, w, 3) uint8, RGB, at `MPP`.
    """
    lightness, a, b = _smooth_lab(picture)
    colour = _from_glass((lightness, a, b))
    box = box_of(colour > PALE * _PARTS, MARGIN)
    found = _in_box(picture[box], (lightness[box], a[box], b[box]), colour[box])
    whole = (np.zeros(colour.shape, bool) for _ in range(3))
    masks = []
    for each, part in zip(whole, found, strict=True):
        each[box] = part
        masks.append(each)
    return Tissue(*masks)


def _in_box(picture: np.ndarray, lab: Lab, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tissue, pen and blurred tissue in the coloured part of a picture, (h, w) bool each."""
    lightness = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    pale = colour > PALE * _PARTS
    pen = find_pen(lab, pale, lightness, _px(MARK))
    mask = connected(pale & ~pen, colour > _sure(colour[~pen]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CLOSE, CLOSE))
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc).astype(bool)
    mask = without_holes(without_small(mask, _px(SPECK)), _px(HOLE)) & ~pen
    blurred = without_small(out_of_focus(lightness, mask), _px(UNFOCUSED))
    return mask & ~blurred, pen, blurred


def _smooth_lab(picture: np.ndarray) -> Lab:
    """Return a picture behind a median filter as L, a and b, (h, w) uint8 each; made from bands of rows, which stay in a CPU's cache."""
    lightness, a, b = np.empty((3, *picture.shape[:2]), np.uint8)
    for top in range(0, len(picture), _ROWS):
        first = max(0, top - BLUR // 2)
        smooth = cv2.medianBlur(picture[first : top + _ROWS + BLUR // 2], BLUR)[top - first :][:_ROWS]
        cv2.split(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), [each[top : top + _ROWS] for each in (lightness, a, b)])
    return lightness, a, b


def _from_glass(lab: Lab) -> np.ndarray:
    """Return each px's distance from the glass in a and b, times `_PARTS` and 255 at most, (h, w) uint8. Glass is bright and nearly
    grey; if a picture has too little of it, white is taken for the glass."""
    lightness, *ab = lab
    bright = (lightness > GLASS[0]) & (lightness < 255)
    counts = cv2.calcHist(ab, [0, 1], bright.view(np.uint8), [256, 256], [0, 256, 0, 256]).astype(np.int64).ravel()
    a, b = (np.indices((256, 256), dtype=np.float32) - 128).reshape(2, -1)
    counts *= np.hypot(a, b) < GLASS[1]
    x, y = (_median(each, counts) if counts.sum() >= GLASS[2] * lightness.size else 0.0 for each in (a, b))
    distance = np.minimum(np.hypot(a - x, b - y) * _PARTS, 255).astype(np.uint8)
    found = np.empty(lightness.shape, np.uint8)
    for top in range(0, len(found), _ROWS):  # an index takes eight bytes
        rows = slice(top, top + _ROWS)
        found[rows] = distance.take(ab[0][rows].astype(np.uint16) * 256 + ab[1][rows])
    return found


def _median(values: np.ndarray, counts: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    sums = counts[order].cumsum()
    return float(values[order][np.searchsorted(sums, sums[-1] / 2)])


def _sure(colour: np.ndarray) -> int:
    """Return Otsu's threshold within its bounds, times `_PARTS` as `colour` is; whole numbers are compared ten times as fast."""
    if not colour.size:
        return SURE[1] * _PARTS
    threshold, _ = cv2.threshold(colour.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return int(np.clip(threshold, SURE[0] * _PARTS, SURE[1] * _PARTS))


def _px(square_mm: float) -> int:
    return round(square_mm / (MPP / 1000) ** 2)

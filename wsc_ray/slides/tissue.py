"""Where a slide holds tissue: colour against the white of the glass, on a small picture of the whole slide.

Otsu's threshold on the saturation of the blurred picture, as in CLAM (Lu et al. 2021, https://doi.org/10.1038/s41551-020-00682-w), held within
bounds so that glass alone is not taken apart into "tissue" and glass. What is nearly black (pen, the edge of a scan) is
no tissue. Pale, fat or unstained tissue can be missed: look at the previews.
"""

from __future__ import annotations

import cv2
import numpy as np

from wsc_ray.slides.slide import Slide

MPP = 8.0  # um/px of the small picture
BLOCK = 512  # px of it that are read at a time, so that a slide without a pyramid takes little memory
BLUR = 7  # px
SATURATION = (12, 45)  # of 255: where the threshold may lie
DARK = 40  # of 255: below it is pen or the edge of a scan
CLOSE = 7  # px: gaps between cells
SPECK = 0.01  # mm^2: smaller pieces are dust
HOLE = 0.05  # mm^2: smaller holes are lumina and folds, and belong to the tissue around


def small_picture(slide: Slide, mpp_level0: float) -> tuple[np.ndarray, float]:
    """The whole slide at `MPP`, (h, w, 3) uint8, RGB, and how many level-0 px one of its px is.

    Raises:
        DataError: a part of the slide cannot be read.
    """
    px = max(1.0, MPP / mpp_level0)
    fine = [level for level, down in enumerate(slide.downsamples) if down <= px * 1.001]
    level = max(fine, key=lambda each: slide.downsamples[each])
    there = px / slide.downsamples[level]  # px of that level for one of the picture
    width, height = (max(1, int(side / px)) for side in slide.size)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            w, h = min(BLOCK, width - left), min(BLOCK, height - top)
            read = slide.read(int(left * px), int(top * px), level, max(w, round(w * there)), max(h, round(h * there)))
            picture[top : top + h, left : left + w] = cv2.resize(read, (w, h), interpolation=cv2.INTER_AREA)
    return picture, px


def find_tissue(picture: np.ndarray) -> np.ndarray:
    """(h, w) bool: tissue.

    Args:
        picture: (h, w, 3) uint8, RGB, at `MPP`.
    """
    hue_saturation_value = cv2.cvtColor(cv2.medianBlur(picture, BLUR), cv2.COLOR_RGB2HSV)
    saturation, value = hue_saturation_value[..., 1], hue_saturation_value[..., 2]
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = (saturation > np.clip(threshold, *SATURATION)) & (value > DARK)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CLOSE, CLOSE))
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc).astype(bool)
    mask = _without_small(mask, SPECK)
    return ~_without_small(~mask, HOLE)


def _without_small(mask: np.ndarray, square_mm: float) -> np.ndarray:
    """The mask without its pieces below an area."""
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = facts[:, cv2.CC_STAT_AREA] * (MPP / 1000) ** 2 >= square_mm
    large[0] = False  # what is not in the mask
    return large[pieces]

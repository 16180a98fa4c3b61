"""A small picture of a whole slide."""

from __future__ import annotations

import cv2
import numpy as np

from wsc_ray.slides.slide import Slide

MPP = 8.0  # um/px of the picture on which tissue is detected
BLOCK = 512  # px: side of the part that is read at a time, so that a slide without a pyramid takes little memory


def small_picture(slide: Slide, mpp_level0: float) -> tuple[np.ndarray, float]:
    """Return the whole slide at `MPP`, (h, w, 3) uint8, RGB, and the number of level-0 px per px of this picture.

    Raises:
        DataError: a part of the slide cannot be read.
    """
    px = max(1.0, MPP / mpp_level0)
    return picture_of(slide, px), px


def picture_of(slide: Slide, px: float) -> np.ndarray:
    """Return the whole slide, (h, w, 3) uint8, RGB; each px is the mean of `px` x `px` level-0 px.

    Args:
        px: 1.0 or more.

    Raises:
        DataError: a part of the slide cannot be read.
    """
    fine = [level for level, down in enumerate(slide.downsamples) if down <= px * 1.001]
    level = max(fine, key=lambda each: slide.downsamples[each])
    there = px / slide.downsamples[level]  # px of that level per px of the picture
    width, height = (max(1, int(side / px)) for side in slide.size)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            w, h = min(BLOCK, width - left), min(BLOCK, height - top)
            read = slide.read(int(left * px), int(top * px), level, max(w, round(w * there)), max(h, round(h * there)))
            picture[top : top + h, left : left + w] = cv2.resize(read, (w, h), interpolation=cv2.INTER_AREA)
    return picture

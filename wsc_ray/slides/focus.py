"""Areas of a slide that are out of focus, found on a small picture by the lack of the finest detail, which blur removes first.

The measure is a share: the variance of lightness that a small blur removes, divided by the variance that a wide blur removes. It
is thus the same for pale and dark tissue. On the real slides of the tests it is 0.14 to 0.66 in focus, and 0.03 to 0.15, 0.016 to
0.11 and 0.01 to 0.08 after a Gaussian blur of 8, 12 and 16 um (1st to 99th percentile at 8 um/px). Blur that is much smaller than
a px of the picture cannot be detected.
"""

from __future__ import annotations

import cv2
import numpy as np

FINE, WIDE = 1.0, 4.0  # px: sigmas of the two blurs
AROUND = 17  # px: side of the square over which variances are averaged
SHARP = 0.08  # smallest share that is in focus
ROUNDING = 0.15  # variance that rounding to whole values causes
FLAT = 0.7  # standard deviation below which focus cannot be judged
BLOCK = 256  # px: side of the parts that are judged one by one, since parts without tissue need not be
_REACH = (
    round(4 * WIDE) + AROUND // 2
)  # px around a px on which its judgement depends: OpenCV cuts a Gaussian at 4 sigma


def out_of_focus(lightness: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Return which px of the tissue are out of focus, (h, w) bool.

    Args:
        lightness: (h, w) uint8.
        tissue: (h, w) bool.
    """
    found = np.zeros(tissue.shape, bool)
    height, width = tissue.shape
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            inside = slice(top, top + BLOCK), slice(left, left + BLOCK)
            if not tissue[inside].any():
                continue
            first = max(0, top - _REACH), max(0, left - _REACH)
            around = lightness[first[0] : top + BLOCK + _REACH, first[1] : left + BLOCK + _REACH]
            judged = _out_of_focus(around)[top - first[0] :, left - first[1] :]
            found[inside] = judged[:BLOCK, :BLOCK] & tissue[inside]
    return found


def detail(lightness: np.ndarray, sigma: float = FINE) -> np.ndarray:
    """Return what a blur of `sigma` px removes from a picture, (h, w) float32.

    Args:
        lightness: (h, w), 0 to 255.
    """
    lightness = lightness.astype(np.float32, copy=False)
    blurred = cv2.GaussianBlur(lightness, (0, 0), sigma)
    return np.subtract(lightness, blurred, out=blurred)


def _out_of_focus(lightness: np.ndarray) -> np.ndarray:
    lightness = lightness.astype(np.float32)
    fine, wide = (cv2.sqrBoxFilter(detail(lightness, sigma), -1, (AROUND, AROUND)) for sigma in (FINE, WIDE))
    return (cv2.scaleAdd(wide, -SHARP, fine) < ROUNDING) & (wide > FLAT**2)

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


def details(lightness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a small blur and what a wide blur remove from a picture, (h, w) float32 each.

    Args:
        lightness: (h, w), 0 to 255.
    """
    lightness = lightness.astype(np.float32)
    fine, wide = (lightness - cv2.GaussianBlur(lightness, (0, 0), sigma) for sigma in (FINE, WIDE))
    return fine, wide


def out_of_focus(fine: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Return where a picture is out of focus, (h, w) bool, from the two results of `details`."""
    fine, wide = (cv2.boxFilter(cv2.pow(detail, 2), -1, (AROUND, AROUND)) for detail in (fine, wide))
    return (cv2.scaleAdd(wide, -SHARP, fine) < ROUNDING) & (wide > FLAT**2)

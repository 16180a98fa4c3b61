"""Resize whole patches to an encoder's input size, in the way in which its weights were trained."""

from __future__ import annotations

import numpy as np
from PIL import Image

from wsc_ray.encoders.frozen import AS_TRAINED
from wsc_ray.stream.augment import resize


def fit(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """Return an image (h, w, 3) uint8 resized to (size, size, 3).

    Args:
        interpolation: `AS_TRAINED`, the way in which `pretrain` makes views; or one of Pillow's, such as `bicubic`, which
            timm's transforms use, too (https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters).
    """
    if interpolation == AS_TRAINED:
        return resize(image, size)
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling[interpolation.upper()]))

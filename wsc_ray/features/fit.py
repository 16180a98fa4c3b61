"""A patch as the encoder takes it: whole, at the encoder's size, resized as its weights are used to."""

from __future__ import annotations

import numpy as np
from PIL import Image

from wsc_ray.encoders.frozen import AS_TRAINED
from wsc_ray.stream.augment import resize


def fit(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """Resize (h, w, 3) uint8 to (size, size, 3).

    Args:
        interpolation: `AS_TRAINED`, as `pretrain` makes views; or one of Pillow's, such as `bicubic`, which timm's transforms use too
            (https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters).
    """
    if interpolation == AS_TRAINED:
        return resize(image, size)
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling[interpolation.upper()]))

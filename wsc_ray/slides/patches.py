"""Patches of a slide, read at their scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.scale import Scale
from wsc_ray.slides.slide import Region, Slide


def read_patches(slide: Slide, scale: Scale, corners: Sequence[tuple[int, int]]) -> Iterator[np.ndarray | DataError]:
    """The patches whose upper left corners these are, in order, each when it is asked for, (size, size, 3) uint8, RGB.

    In place of a patch that cannot be read stands the reason.

    Args:
        corners: x and y of each, level-0 px.
    """
    regions = [Region(x, y, scale.level, scale.read, scale.read) for x, y in corners]
    for pixels in slide.read_regions(regions):
        if isinstance(pixels, DataError) or scale.read == scale.size:
            yield pixels
        else:
            yield cv2.resize(pixels, (scale.size, scale.size), interpolation=cv2.INTER_AREA)

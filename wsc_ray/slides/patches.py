"""Reading the patches of a slide, and shrinking them to their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.slide import Region, Slide


class Square(NamedTuple):
    """A patch: its upper left corner in level-0 px, its level, the side of its region in px of that level, and its side as stored in px."""

    x: int
    y: int
    level: int
    read: int
    size: int


def read_patches(slide: Slide, patches: Sequence[Square]) -> Iterator[np.ndarray | DataError]:
    """Yield patches in order, (size, size, 3) uint8, RGB, each read when it is needed; instead of an unreadable one, yield the reason."""
    regions = [Region(patch.x, patch.y, patch.level, patch.read, patch.read) for patch in patches]
    for pixels, patch in zip(slide.read_regions(regions), patches, strict=True):
        if isinstance(pixels, DataError) or patch.read == patch.size:
            yield pixels
        else:
            yield cv2.resize(pixels, (patch.size, patch.size), interpolation=cv2.INTER_AREA)

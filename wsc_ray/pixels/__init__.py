"""Pixels of patches: where they are, fetched with retries, decoded to arrays or a reason."""

from wsc_ray.pixels.images import decode
from wsc_ray.pixels.sources import PixelSource, Unreadable, to_image

__all__ = ["PixelSource", "Unreadable", "decode", "to_image"]

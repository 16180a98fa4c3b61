"""Pixels of patches: fetched with retries from where a manifest says they are, then decoded to an array or a reason."""

from wsc_ray.pixels.images import decode
from wsc_ray.pixels.sources import PixelSource, Unreadable, to_image

__all__ = ["PixelSource", "Unreadable", "decode", "to_image"]

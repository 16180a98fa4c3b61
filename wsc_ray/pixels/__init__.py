"""Pixels of patches: encoded bytes and where they come from, decoded to arrays or a reason."""

from wsc_ray.pixels.images import decode, image_bytes

__all__ = ["decode", "image_bytes"]

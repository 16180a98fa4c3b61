"""Decode an image file of any supported format to an array."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg

from wsc_ray.errors import DataError
from wsc_ray.pixels import png
from wsc_ray.pixels.jpeg import decode_jpeg
from wsc_ray.pixels.other_formats import decode_other


def decode(data: bytes | memoryview) -> np.ndarray:
    """Return the image in an encoded file, (h, w, 3) uint8, RGB, as an image viewer shows it.

    JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG 2000 and PNM are recognised by content, not by name. Grey, palettes and 1 to 8
    bits become RGB. Transparent pixels become white, as the glass of a slide is. Of 16 bits a channel the upper 8 are
    used. Colour profiles are ignored.

    Raises:
        DataError: the image is empty, damaged, cut short or of another format; its header claims more than `MAX_PIXELS`
            pixels; it has several pages or frames, CMYK or Lab colours, or floating-point, signed or 32-bit numbers; it
            uses 14 or fewer of 16 bits a channel (nearly black, as 12 bits of a camera are); or viewers show it turned or
            mirrored, by its EXIF or a TIFF's own tag: `x` and `y` belong to the pixels as they are stored.
    """
    if len(data) == 0:
        raise DataError("the image is empty (0 bytes)")
    if simplejpeg.is_jpeg(data):
        read = decode_jpeg
    elif bytes(data[:8]) == png.SIGNATURE:
        read = png.decode_png
    else:
        read = decode_other
    try:
        image = read(data)
    except cv2.error as error:
        raise DataError(f"the image cannot be decoded: {error.err}") from None
    if image is None:
        raise DataError(f"the image cannot be decoded: its {len(data):,} bytes are cut short or no known format")
    return image

"""Decode TIFF, WebP, BMP, GIF, JPEG 2000 and PNM, with Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from wsc_ray.errors import DataError
from wsc_ray.pixels.convert import (
    DAMAGED,
    ORIENTATION,
    UPRIGHT,
    check_bits,
    check_exif,
    check_frames,
    check_size,
    check_upright,
    far_too_large,
    to_eight_bits,
)
from wsc_ray.slides.slide import on_white

FORMATS = ("TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF 6.0
_MIN_IS_WHITE, _SEPARATE, _UNSIGNED = 0, 2, 1  # values of these tags


def decode_other(data: bytes | memoryview) -> np.ndarray | None:
    """Return the image, (h, w, 3) uint8, RGB, white where it is transparent; None if it is damaged or of another format.

    Raises:
        DataError: the image is too large, holds several pictures, has values that are not colours of 8 or 16 bits, or is
            stored turned, or a TIFF of a kind that Pillow does not read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(*image.size)
            check_frames(getattr(image, "n_frames", 1))
            check_exif(image.info.get("exif"))
            bits = _check_tiff(image.tag_v2) if isinstance(image, TiffImageFile) else 8
            return _convert(image, bits)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise far_too_large() from None
    except Image.UnidentifiedImageError:
        if bytes(data[:4]) in _TIFF:
            raise DataError(
                "the image is a TIFF that is damaged, or of a kind that is not read; save it with 8 bits a channel"
            ) from None
        return None
    except DAMAGED:
        return None


def _check_tiff(tags: Any) -> int:
    """Check that viewers show a TIFF with these tags in one way, and return its bits per channel."""
    check_upright(tags.get(ORIENTATION, UPRIGHT), "TIFF")
    if set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}:
        raise DataError("the TIFF holds signed or floating-point numbers, not colours; save it with 8 bits a channel")
    bits = max(tags.get(_BITS, (1,)))
    if bits > 8 and tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        raise DataError(f"the TIFF has {bits} bits a px, where 0 is white; save it with 8 bits a channel")
    if bits > 8 and tags.get(_PLANES) == _SEPARATE:  # Pillow 13 reads the wrong bytes
        raise DataError(f"the TIFF has {bits} bits a channel in separate planes; save it with 8 bits a channel")
    return bits


def _convert(image: Image.Image, bits: int) -> np.ndarray:
    """Return the pixels of an open image.

    Args:
        bits: bits of a channel in the file; of 16 bits of a colour, Pillow gives the upper 8.
    """
    if image.mode.startswith("I;16"):
        return np.dstack([to_eight_bits(np.asarray(image).astype(np.uint16))] * 3)
    if image.mode in ("I", "F"):
        raise DataError("the image holds 32-bit numbers, not colours; save it with 8 bits a channel")
    if image.mode in ("CMYK", "LAB"):
        raise DataError(f"the image has {image.mode} colours, whose look depends on a profile; save it as RGB")
    pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if bits > 8:
        check_bits(int(pixels[..., :3].max(initial=0)) << 8 | 255)
    return on_white(pixels)

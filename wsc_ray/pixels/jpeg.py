"""JPEG, by turbo JPEG without a detour."""

from __future__ import annotations

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from wsc_ray.errors import DataError
from wsc_ray.pixels.convert import DAMAGED, check_size, far_too_large

# Of libjpeg's messages, those after which a part of the picture is not what was saved.
_LOST = ("premature end of data segment", "bad Huffman code", "instead of RST", "Unsupported marker")


def decode_jpeg(data: bytes | memoryview) -> np.ndarray | None:
    """(h, w, 3) uint8, RGB; None where it is cut short.

    The bytes are those that OpenCV gives, some 20% sooner. OpenCV reads what turbo JPEG refuses and viewers show, such
    as rare subsamplings and stray bytes between markers.

    Raises:
        DataError: it is too large, of CMYK colours, or damaged.
        cv2.error: OpenCV cannot read it.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return _decode_slowly(data)
    check_size(width, height)
    _check_colours(colours)
    try:
        return simplejpeg.decode_jpeg(data)
    except ValueError as error:
        if any(message in str(error) for message in _LOST):
            raise DataError(f"the image is damaged: {error}") from None
    return _decode_slowly(data)


def _decode_slowly(data: bytes | memoryview) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as header:
            size, colours = header.size, header.mode
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise far_too_large() from None
    except DAMAGED:
        return None
    check_size(*size)
    _check_colours(colours)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _check_colours(colours: str) -> None:
    if colours in ("CMYK", "YCCK"):
        raise DataError(f"the image is of {colours} colours, which look as a printer's profile says; save it as RGB")

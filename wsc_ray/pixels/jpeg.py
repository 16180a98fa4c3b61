"""Decode JPEG, directly with turbo JPEG where it can."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from wsc_ray.errors import DataError
from wsc_ray.pixels.convert import DAMAGED, check_exif, check_size, far_too_large

# Messages of libjpeg that mean that a part of the picture is lost.
_LOST = ("premature end of data segment", "bad Huffman code", "instead of RST", "Unsupported marker")
_APP1, _END, _SCAN = 0xE1, 0xD9, 0xDA  # markers of ITU-T T.81, Table B.1


def decode_jpeg(data: bytes | memoryview) -> np.ndarray | None:
    """Return the image, (h, w, 3) uint8, RGB; None where it is cut short.

    turbo JPEG gives the same pixels as OpenCV, in some 20% less time. OpenCV reads images that turbo JPEG refuses and
    viewers show, such as those with rare subsamplings or stray bytes between markers.

    Raises:
        DataError: the image is too large, has CMYK colours, is stored turned, or is damaged.
        cv2.error: OpenCV cannot read it.
    """
    check_exif(find_exif(data))
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


def find_exif(data: bytes | memoryview) -> bytes | None:
    """Return the EXIF of a JPEG, which is in a segment APP1 before the picture; None where there is none."""
    at = 2
    while at + 4 <= len(data):
        mark, kind, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF or kind in (_SCAN, _END):
            break
        if kind == 0xFF:  # a marker may have several of these before it
            at += 1
            continue
        if kind == _APP1 and bytes(data[at + 4 : at + 10]) == b"Exif\0\0":
            return bytes(data[at + 4 : at + 2 + length])
        at += 2 + length
    return None


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
        raise DataError(f"the image has {colours} colours, whose look depends on a printer's profile; save it as RGB")

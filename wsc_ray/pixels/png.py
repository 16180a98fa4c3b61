"""Decode PNG (https://www.w3.org/TR/png-3/): this module reads the header, OpenCV the pixels."""

from __future__ import annotations

import struct
from typing import NamedTuple

import cv2
import numpy as np

from wsc_ray.pixels.convert import check_exif, check_frames, check_size, to_eight_bits
from wsc_ray.slides.slide import on_white

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _GREY_ALPHA, _RGBA = 0, 4, 6  # colour types


class Header(NamedTuple):
    """What a PNG's chunks say about its pixels.

    Attributes:
        bits: bits of a channel, or of an index into the palette.
        colour: colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        transparent: the chunk tRNS, which names the transparent grey, colour or palette entries; None without it.
        frames: number of frames of an animation, else 1.
        exif: the chunk eXIf; None without it.
    """

    width: int
    height: int
    bits: int
    colour: int
    transparent: bytes | None
    frames: int
    exif: bytes | None


def read_header(data: bytes | memoryview) -> Header:
    """Return the header of a PNG.

    Raises:
        struct.error: the header is cut short.
    """
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    transparent, frames, exif = None, 1, None
    pixels = False  # whether they have begun: only eXIf may follow them
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        pixels = pixels or kind == b"IDAT"
        if kind == b"eXIf":
            exif = bytes(data[at + 8 : at + 8 + length])
        elif kind == b"tRNS" and not pixels:
            transparent = bytes(data[at + 8 : at + 8 + length])
        elif kind == b"acTL" and not pixels:
            (frames,) = struct.unpack_from(">I", data, at + 8)
        at += 12 + length
    return Header(width, height, bits, colour, transparent, frames, exif)


def decode_png(data: bytes | memoryview) -> np.ndarray | None:
    """Return the image, (h, w, 3) uint8, RGB, white where it is transparent; None where it is damaged.

    Raises:
        DataError: the image is too large, is animated, is stored turned, or uses few of 16 bits.
        cv2.error: OpenCV cannot read it.
    """
    try:
        header = read_header(data)
    except struct.error:
        return None
    check_size(header.width, header.height)
    check_frames(header.frames)
    check_exif(header.exif)
    values = np.frombuffer(data, np.uint8)
    if header.bits <= 8 and header.transparent is None and header.colour not in (_GREY_ALPHA, _RGBA):
        return cv2.imdecode(values, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    image = cv2.imdecode(values, cv2.IMREAD_UNCHANGED)  # grey, BGR or BGRA, of 8 or 16 bits
    if image is None:
        return None
    alpha = None
    # OpenCV ignores the transparency of a grey image, in which one value is transparent.
    if image.ndim == 2 and header.transparent is not None:
        scale = 255 // (2**header.bits - 1) if header.bits < 8 else 1
        alpha = image != scale * int.from_bytes(header.transparent[:2], "big")
    if image.dtype == np.uint16:
        image = to_eight_bits(image)
    if image.ndim == 2:
        image = np.dstack([image] * 3)
    if alpha is not None:
        image = np.dstack([image, np.where(alpha, 255, 0).astype(np.uint8)])
    return on_white(np.ascontiguousarray(image[..., [2, 1, 0, 3][: image.shape[-1]]]))

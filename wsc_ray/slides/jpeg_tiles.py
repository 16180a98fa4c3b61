"""JPEG tiles of a TIFF: the stored parts are joined to a complete JPEG, with a marker for its colour space, and decoded.

A tile is an abbreviated JPEG (TIFF Technical Note 2): its quantisation and Huffman tables may be in the tag JPEGTables, and its
colour space is in the tag PhotometricInterpretation. A decoder sees neither tag. Without a marker it takes three components for
YCbCr, which is wrong for Aperio's RGB; with Adobe's marker APP14 it takes the colour space from there (ITU-T T.872, 6.5.3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import simplejpeg

from wsc_ray.errors import DataError

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length: TEM and RSTn
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn; the markers DHT, JPG and DAC between them are none
_APPLICATION = frozenset(range(0xE0, 0xF0))
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # followed by a byte for the colour space
RGB, YCBCR = b"\0", b"\1"  # that byte


class Parts(NamedTuple):
    """A JPEG up to its first scan.

    Attributes:
        segments: the segments, without those of applications (APPn).
        size: width and height, px; None if there are only tables.
        components: number of components; 0 if there are only tables.
        scan: offset of the first scan, bytes.
    """

    segments: bytes
    size: tuple[int, int] | None
    components: int
    scan: int


def decode_tile(stored: bytes, tables: bytes, colours: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a tile to (h, w, 3) uint8, RGB.

    Args:
        stored: the bytes of the tile in the file.
        tables: the segments of the tag JPEGTables, see `read_tables`; empty without this tag.
        colours: the colour space of the components, `RGB` or `YCBCR`.
        size: width and height that the tile must have, px.

    Raises:
        DataError: the tile is damaged, has another size, or has not three components.
    """
    parts = _split(stored)
    if parts.size != size:
        raise DataError(f"a tile says it is {parts.size} px where the file says {size}")
    if parts.components != 3:
        raise DataError(f"a tile has {parts.components} components and not the three of a colour")
    whole = b"".join((b"\xff\xd8", _ADOBE, colours, tables, parts.segments, memoryview(stored)[parts.scan :]))
    try:
        return simplejpeg.decode_jpeg(whole)
    except ValueError as error:
        raise DataError(f"a tile is damaged: {error}") from None


def read_tables(tag: bytes | None) -> bytes:
    """Return the segments of a tag JPEGTables; empty without this tag.

    Raises:
        DataError: the tag is damaged.
    """
    return _split(tag).segments if tag else b""


def _split(data: bytes) -> Parts:
    if data[:2] != b"\xff\xd8":
        raise DataError("a tile does not begin as a JPEG does")
    kept: list[bytes] = []
    size, components, at = None, 0, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        if marker in (_SOS, _EOI):
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end < at + 4 or end > len(data):
            raise DataError("a tile is cut short within its header")
        if marker in _FRAMES and end >= at + 10:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            size, components = (width, height), data[at + 9]
        if marker not in _APPLICATION:
            kept.append(data[at:end])
        at = end
    return Parts(b"".join(kept), size, components, at)

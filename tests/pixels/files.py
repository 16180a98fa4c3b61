"""Image files made for tests: by Pillow, or chunk by chunk where Pillow cannot write them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def picture(height: int = 24, width: int = 16) -> np.ndarray:
    """(h, w, 3) uint8 with other values at every px and no symmetry."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([y * 9, x * 15, y * 5 + x * 7]).astype(np.uint8)


def encode(image: Image.Image, name: str, **options) -> bytes:
    """An image saved in the format of that name."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def png(pixels: np.ndarray, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of any colour type and bits.

    Args:
        pixels: (h, w) or (h, w, channels), each below 2**bits.
        chunks: name and content of those that come before the pixels.
    """
    height, width = pixels.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in pixels]
    else:
        rows = [np.packbits(((row.reshape(-1, 1) >> np.arange(bits)[::-1]) & 1).astype(np.uint8)) for row in pixels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    whole = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in whole
    )


def tiff_header(width: int, height: int) -> bytes:
    """A TIFF that claims a size, and has eight bytes of pixels."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(208, b"\0")

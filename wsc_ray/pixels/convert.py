"""Check images and convert them to 8-bit RGB as viewers show them; refuse images that viewers show differently."""

from __future__ import annotations

import struct

import numpy as np

from wsc_ray.errors import DataError

MAX_PIXELS = 8192 * 8192  # a header of a few bytes can claim more pixels than any memory holds
# Errors that Pillow's readers raise on damaged bytes, besides Pillow's own. MemoryError is not among them, since it need
# not be the image's fault.
DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
UPRIGHT = 1
ORIENTATION = 274  # the tag of TIFF and EXIF that says how a viewer turns or mirrors the stored pixels
FEW_BITS = 14  # scanners that store 10, 12 or 14 bits in 16 leave the upper bits empty


def check_size(width: int, height: int) -> None:
    """Check the size of an image by its header, before memory is allocated for it.

    Raises:
        DataError: the image has more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise DataError(f"the image is {width:,} x {height:,} px, and a patch may have {MAX_PIXELS:,} px at most")


def far_too_large() -> DataError:
    """Return the error for an image above Pillow's own limit, which exceeds `MAX_PIXELS`; Pillow does not say its size."""
    return DataError(f"the image is far larger than a patch, which may have {MAX_PIXELS:,} px at most")


def check_frames(frames: int) -> None:
    """Check that a file holds one picture: not several pages of a TIFF, nor frames of an animation.

    Raises:
        DataError: it holds more than one.
    """
    if frames > 1:
        raise DataError(f"the file holds {frames:,} pictures, and a patch is one; save the right one by itself")


def check_exif(exif: bytes | None) -> None:
    """Check that viewers show an image as it is stored.

    Args:
        exif: the image's EXIF, with or without `Exif` before it; None where it has none. What is damaged says nothing.

    Raises:
        DataError: they turn or mirror it.
    """
    if exif:
        check_upright(_orientation(exif.removeprefix(b"Exif\0\0")), "image")


def _orientation(exif: bytes) -> int:
    """Return the tag `ORIENTATION` of an EXIF, whose tags are those of a TIFF's first page."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, at + 2 + 12 * entry)
            if tag == ORIENTATION:
                return int(value)
    except struct.error:
        pass
    return UPRIGHT


def check_upright(turn: object, kind: str) -> None:
    """Check the tag `ORIENTATION` of a `kind`, such as "image".

    Raises:
        DataError: viewers turn or mirror the image.
    """
    if turn in range(UPRIGHT + 1, 9):
        raise DataError(f"the {kind} is stored turned or mirrored (orientation {turn}); save it upright")


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """Return the upper 8 of 16 bits, as viewers show them.

    Args:
        image: (h, w) or (h, w, channels) uint16; a fourth channel is alpha.

    Raises:
        DataError: the upper bits are empty, so that the image would be nearly black.
    """
    colour = image[..., :3] if image.ndim == 3 else image
    check_bits(int(colour.max(initial=0)))
    return (image >> 8).astype(np.uint8)


def check_bits(largest: int) -> None:
    """Check that an image with 16 bits a channel uses more than a part of them.

    Raises:
        DataError: the largest value of all channels, `largest`, fits in `FEW_BITS`, and is not 0 as in a black image.
    """
    if 0 < largest < 2**FEW_BITS:
        raise DataError(
            f"the image has 16 bits a channel and uses {largest.bit_length()} of them, so that it would be nearly black; "
            "save it with 8 bits a channel"
        )

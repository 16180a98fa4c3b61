"""From what a file holds to 8-bit RGB: what a viewer shows of it, or a refusal where viewers do not agree."""

from __future__ import annotations

import struct

import numpy as np

from wsc_ray.errors import DataError

MAX_PIXELS = 8192 * 8192  # a header of a few bytes can claim more than any memory holds
# What Pillow's readers raise on damaged bytes besides its own errors: whatever they run into. Not MemoryError, which says
# nothing of the image.
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
FEW_BITS = 14  # of 16: scanners that count 10, 12 or 14 bits into 16 leave the upper ones empty


def check_size(width: int, height: int) -> None:
    """Refuse an image by its header, before memory is taken for it.

    Raises:
        DataError: it has more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise DataError(f"the image is {width:,} x {height:,} px, and a patch may have {MAX_PIXELS:,} px at most")


def far_too_large() -> DataError:
    """What to raise where Pillow refuses by a limit of its own, above `MAX_PIXELS`, and does not say the size."""
    return DataError(f"the image is far larger than a patch, which may have {MAX_PIXELS:,} px at most")


def check_frames(frames: int) -> None:
    """Refuse several pages of a TIFF, or frames of an animation: which of them is the patch?

    Raises:
        DataError: there is more than one.
    """
    if frames > 1:
        raise DataError(f"the file holds {frames:,} pictures, and a patch is one; save the right one by itself")


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """The upper 8 of 16 bits, as viewers show them.

    Args:
        image: (h, w) or (h, w, channels) uint16; a fourth channel is alpha.

    Raises:
        DataError: the upper bits are empty, so that the image would be nearly black.
    """
    colour = image[..., :3] if image.ndim == 3 else image
    check_bits(int(colour.max(initial=0)))
    return (image >> 8).astype(np.uint8)


def check_bits(largest: int) -> None:
    """Refuse 16 bits a channel of which only a part is used.

    Raises:
        DataError: the largest value of all channels, `largest`, takes no more than `FEW_BITS`; 0 is black indeed.
    """
    if 0 < largest < 2**FEW_BITS:
        raise DataError(
            f"the image has 16 bits a channel and uses {largest.bit_length()} of them, so that it would be nearly black; "
            "save it with 8 bits a channel"
        )

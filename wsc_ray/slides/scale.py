"""Physical scale: um/px of a slide, and the level of its pyramid from which patches at a scale are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsc_ray.errors import DataError

SANE = (0.05, 10.0)  # range of um/px at level 0 that scanners make; a file's tag or a list may claim anything
ANISOTROPY = 0.02  # allowed relative difference of um/px in x and y
TOLERANCE = 0.02  # allowed relative difference from the wanted scale: a scanner's 20x is only about 0.5 um/px


@dataclass(frozen=True)
class Scale:
    """How patches are read.

    Attributes:
        level: level of the pyramid.
        read: side of the region that is read, px of that level.
        size: side of the patch as stored, px; a larger region is shrunk to it.
        size_level0: side of the patch, level-0 px; in general not a whole number.
        mpp: um/px of the patch as stored.
        mpp_level0: um/px of level 0.
    """

    level: int
    read: int
    size: int
    size_level0: float
    mpp: float
    mpp_level0: float


def level0_mpp(told: tuple[float, float] | None, given: float | None) -> float:
    """Return um/px of level 0: the value given in the list, else the file's own.

    Args:
        told: the file's own um/px in x and y; None if missing.
        given: the value in the list; None if missing.

    Raises:
        DataError: both are missing, or the value is impossible.
    """
    if given is not None:
        if not SANE[0] <= given <= SANE[1]:
            raise DataError(f"the list says {given:.4g} um/px, which no scanner makes; mend its column `mpp`")
        return given
    if told is None:
        raise DataError("the file does not say its um/px; give it in the list, column `mpp`")
    x, y = told
    if not (SANE[0] <= x <= SANE[1] and SANE[0] <= y <= SANE[1]):
        raise DataError(
            f"the file says {x:.4g} um/px, which no scanner makes; give the right one in the list, column `mpp`"
        )
    if abs(x - y) > ANISOTROPY * max(x, y):
        raise DataError(f"its px are not square: {x:.4g} x {y:.4g} um; give one um/px in the list, column `mpp`")
    return (x + y) / 2


def choose_scale(mpp_level0: float, downsamples: Sequence[float], *, mpp: float, size: int) -> Scale:
    """Return how patches of `size` px at `mpp` um/px are read: from the coarsest level that is fine enough, and shrunk from there.

    Raises:
        DataError: level 0 is coarser than `mpp`; patches are never enlarged.
    """
    fine = [level for level, down in enumerate(downsamples) if mpp_level0 * down <= mpp * (1 + TOLERANCE)]
    if not fine:
        raise DataError(f"at {mpp_level0:.4g} um/px it is coarser than the {mpp:g} asked for, and nothing is enlarged")
    level = max(fine, key=lambda each: downsamples[each])
    there = mpp_level0 * downsamples[level]
    read = size if abs(there - mpp) <= TOLERANCE * mpp else round(size * mpp / there)
    return Scale(level, read, size, read * downsamples[level], read * there / size, mpp_level0)

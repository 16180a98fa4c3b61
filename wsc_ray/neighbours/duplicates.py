"""Near-duplicates between patients: a slide that was scanned twice, copied, or filed under two names.

Similarity alone does not show that two patches are copies: background and fat look alike everywhere. A copy is much nearer than the
patches that merely look alike, as in Lowe 2004 (doi:10.1023/B:VISI.0000029664.99615.94):

    ratio = (1 - cosine to the nearest) / (1 - cosine to the tenth nearest),    both among patches of other patients

Patches that merely look alike are distributed around each other in some number m of dimensions, so that ratio^(m/2) is the smallest
of nine uniform random numbers (Levina and Bickel 2004, Maximum likelihood estimation of intrinsic dimension). m is estimated from
the patches themselves, twice: from the ratios of the nearest, and from those of the fifth nearest, which is the middle one of the nine
numbers. The first is robust against copies. But if a tenth of the patches is of a tissue that no other patient has, it is far too large,
since these patches are about equally far from all others; the smaller estimate counts. For each patch,

    chance = 1 - (1 - ratio^(m/2))^9

is the probability that its nearest patch would be as near without being a copy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from wsc_ray.neighbours.index import PatchIndex
from wsc_ray.neighbours.vectors import PatchVectors
from wsc_ray.progress import Progress

REFERENCE = 10  # distances are compared with that of this neighbour
_MIDDLE = 5  # the neighbour whose ratio, to the power m/2, has the median 1/2
COPY = 1e-8  # chance below which one patch alone shows a copy
ALIKE = 1e-3  # chance below which a patch counts as evidence that two slides are copies
SLIDE_PATCHES = 4  # least number of such patches, in both slides together, that make two slides copies
SLIDE_SHARE = 0.2  # and their least number per patch of the smaller slide; identical copies have 2
# Quantile of the ratio from which m is estimated: that of a patch without a copy, unless nearly all have one.
_USUAL = 0.9
_SAME = 1e-6  # distance, or ratio, of features that differ only by rounding
_AT_ONCE = 4096  # number of queries at a time


@dataclass(frozen=True)
class Copies:
    """Two slides of different patients that share patches.

    Attributes:
        slides, patients: the two slides and their patients, in the same order.
        patches: the number of patches of both slides whose nearest patch is in the other slide, with a chance below `ALIKE`.
        copies: the number of these with a chance below `COPY`.
        example: a patch of the first slide and its copy in the second, as rows of `PatchVectors`.
    """

    slides: tuple[str, str]
    patients: tuple[str, str]
    patches: int
    copies: int
    example: tuple[int, int]


def nearest_of_others(patches: PatchVectors) -> tuple[np.ndarray, np.ndarray, PatchIndex]:
    """Find each patch's nearest patch of another patient.

    Returns:
        The row of the nearest patch (n,), -1 if there is no other patient; the chance (n,), 1 in that case; and the index.
    """
    index = PatchIndex(patches.vectors, len(patches))
    nearest, ratio, middle = np.full(len(patches), -1), np.ones(len(patches)), np.full(len(patches), np.nan)
    with Progress("comparing patches", len(patches), unit="patches") as progress:
        for patient in patches.rows_of_patients():
            for start in range(patient.start, patient.stop, _AT_ONCE):
                rows = slice(start, min(start + _AT_ONCE, patient.stop))
                cosines, neighbours = index.search(patches.vectors[rows], REFERENCE, without=patient)
                nearest[rows], ratio[rows] = neighbours[:, 0], _ratio(cosines, neighbours, 1)
                middle[rows] = np.where(neighbours[:, -1] >= 0, _ratio(cosines, neighbours, _MIDDLE), np.nan)
                progress.advance(rows.stop - rows.start)
    return nearest, chance_of(ratio, middle), index


def chance_of(ratio: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the chance of each ratio, (n,); see the module's docstring.

    Args:
        middle: the same ratio of the fifth nearest, (n,); NaN for a patch with too few neighbours.
    """
    usual = float(np.quantile(ratio, _USUAL))
    if not 0 < usual < 1:  # nearly all patches are copies, or all are equal: m cannot be estimated
        return np.where(ratio < _SAME, 0.0, 1.0)
    others = REFERENCE - 1
    half_dimension = np.log(1 - (1 - _USUAL) ** (1 / others)) / np.log(usual)
    known = middle[np.isfinite(middle)]
    typical = float(np.median(known)) if len(known) else 0.0
    if 0 < typical < 1:  # otherwise most patches have five copies, or none has a fifth neighbour
        half_dimension = min(half_dimension, np.log(0.5) / np.log(typical))
    return -np.expm1(others * np.log1p(-np.minimum(ratio**half_dimension, 1 - 1e-12)))


def find_copies(patches: PatchVectors, nearest: np.ndarray, chance: np.ndarray) -> list[Copies]:
    """Return pairs of slides of different patients that share patches, those with the most shared patches first.

    A pair is returned if one patch alone shows a copy, or if several patches of one slide are nearest to patches of the other: what
    happens once by chance does not happen repeatedly between the same two slides.

    Args:
        nearest, chance: as `nearest_of_others` returns them.
    """
    slide_of = patches.slide_of
    sizes = np.diff(patches.offsets)
    alike, copies = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    example: dict[tuple[int, int], tuple[float, int, int]] = {}
    for row in np.flatnonzero((nearest >= 0) & (chance < ALIKE)).tolist():
        own, other = int(slide_of[row]), int(slide_of[nearest[row]])
        pair = (min(own, other), max(own, other))
        alike[pair] += 1
        copies[pair] += int(chance[row] < COPY)
        ordered = (row, int(nearest[row])) if own == pair[0] else (int(nearest[row]), row)
        example[pair] = min(example.get(pair, (np.inf, 0, 0)), (float(chance[row]), *ordered))
    pairs = [
        Copies(
            (patches.slide_ids[pair[0]], patches.slide_ids[pair[1]]),
            (patches.patient_ids[pair[0]], patches.patient_ids[pair[1]]),
            count,
            copies[pair],
            example[pair][1:],
        )
        for pair, count in alike.items()
        if copies[pair] or count >= max(SLIDE_PATCHES, SLIDE_SHARE * min(sizes[list(pair)]))
    ]
    return sorted(pairs, key=lambda copies: (-copies.patches, copies.slides))


def _ratio(cosines: np.ndarray, found: np.ndarray, neighbour: int) -> np.ndarray:
    """Return the ratio of each query, (q,), from cosines (q, k) and rows (q, k), which are -1 past the last patch.

    Args:
        neighbour: whose distance is divided by that of the last, 1 for the nearest.
    """
    distances = np.clip(1 - cosines.astype(np.float64), 0, None)
    last = np.maximum((found >= 0).sum(axis=1) - 1, 0)
    reference = distances[np.arange(len(distances)), last]
    ratio = np.where(reference > _SAME, distances[:, neighbour - 1] / np.maximum(reference, _SAME), 1.0)
    return np.where(last > 0, ratio, 1.0)  # a single neighbour gives no distance to compare with

"""The pool of patches, and the pseudo-slides that are drawn from it.

PatchCamelyon has no slide ids. The patches of a pseudo-slide come from one stain group, as a real slide has one stain. A negative
pseudo-slide has only normal patches, a positive one a given number of tumour patches. The pool's part `train` has ten stain groups
(GROUPS), some of which are held out in turn (HELD) to choose settings. The part `valid`, which was cut from other slides, is TEST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.errors import DataError

SIZE = 50  # patches of a pseudo-slide
GROUPS = tuple(f"train-{number}" for number in range(10))
HELD = (("train-0", "train-8"), ("train-2", "train-5"), ("train-6", "train-9"))  # with enough patches of both kinds
TEST = tuple(f"valid-{number}" for number in range(5))
_COLUMNS = ("stain_group", "patch_label", "mpp", "image")


@dataclass(frozen=True, eq=False)
class Pool:
    """The patches of the pool: stain group (n,), and whether each patch is tumour, (n,) bool."""

    group: np.ndarray
    tumour: np.ndarray

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True, eq=False)
class Slides:
    """Pseudo-slides: their patches as rows of the pool, (b, SIZE). Slides with even indices are negative, the others positive."""

    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positive(self) -> np.ndarray:
        """(b,) bool."""
        return np.arange(len(self.rows)) % 2 == 1


def read_pool(path: Path) -> tuple[Pool, pa.Table]:
    """Return the pool and its table.

    Raises:
        DataError: the file is missing, or has not the pool's columns.
    """
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a pool of patches: {str(error).splitlines()[0]}") from None
    pool = Pool(np.array(table["stain_group"].to_pylist()), table["patch_label"].to_numpy() == 1)
    lacking = [group for group in (*GROUPS, *TEST) if group not in set(pool.group.tolist())]
    if lacking:
        raise DataError(f"{path} lacks the stain groups {', '.join(lacking)}")
    return pool, table


def of_groups(pool: Pool, groups: Sequence[str]) -> np.ndarray:
    """Return the patches of some stain groups, as rows of the pool, ascending."""
    return np.flatnonzero(np.isin(pool.group, list(groups)))


def tumour_patches(fraction: float) -> int:
    """Return the number of tumour patches in a positive pseudo-slide."""
    return round(SIZE * fraction)


def draw_apart(
    pool: Pool, groups: tuple[str, ...], pairs: int, fraction: float, seed: int, *, most: float | None = None
) -> Slides:
    """Draw pseudo-slides that share no patch, as many negative as positive.

    With the same seed, every fraction gives the same negative slides, and positive slides with the same normal patches, as many as fit
    beside the tumour. The number of slides of a stain group is proportional to its number of normal patches, as far as it has patches.

    Args:
        most: share of tumour for which each group has to have patches, by default `fraction`. Fractions up to it have as many slides of
            each group, and their tumour patches are among those of the larger ones.

    Raises:
        DataError: there are not enough patches.
    """
    rng = np.random.default_rng(seed)
    normal = {group: rng.permutation(np.flatnonzero((pool.group == group) & ~pool.tumour)) for group in groups}
    tumour = {group: rng.permutation(np.flatnonzero((pool.group == group) & pool.tumour)) for group in groups}
    positives, reserved = tumour_patches(fraction), tumour_patches(most or fraction)
    sizes = np.array([len(normal[group]) for group in groups])
    limits = sizes // (2 * SIZE)
    if reserved:
        limits = np.minimum(limits, np.array([len(tumour[group]) for group in groups]) // reserved)
    if pairs > limits.sum():
        raise DataError(
            f"{', '.join(groups)} have patches for {limits.sum()} slides of each label with up to {reserved / SIZE:.0%} tumour, not for {pairs}"
        )
    rows = []
    for group, count in zip(groups, _allotted(pairs, sizes, limits).tolist(), strict=True):
        for slide in range(count):
            own = normal[group][2 * slide * SIZE : 2 * (slide + 1) * SIZE]
            ill = tumour[group][slide * reserved : slide * reserved + positives]
            rows += [own[:SIZE], np.concatenate([ill, own[SIZE : 2 * SIZE - positives]])]
    return Slides(np.stack(rows))


def _allotted(count: int, sizes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return whole numbers that sum to `count`, in proportion to `sizes` and none above its limit."""
    counts, full = np.zeros(len(sizes), int), np.zeros(len(sizes), bool)
    while True:
        share = (count - limits[full].sum()) * sizes / sizes[~full].sum()
        counts = np.where(full, limits, np.floor(share).astype(int))
        order = np.argsort(np.where(full, np.inf, counts - share))  # the largest remainders first
        counts[order[: count - counts.sum()]] += 1
        if (counts <= limits).all():
            return counts
        full |= counts > limits


def spare_patches(pool: Pool, groups: tuple[str, ...], trained: Sequence[Slides], most: float) -> Pool:
    """Return the pool with only those patches in stain groups that no training slide holds, and that can make pseudo-slides.

    Args:
        trained: training slides.
        most: share of tumour of which a group has to have patches for a slide.
    """
    left = np.isin(pool.group, groups)
    for slides in trained:
        left[slides.rows] = False
    for group in groups:
        own = left & (pool.group == group)
        if (own & ~pool.tumour).sum() < SIZE or (own & pool.tumour).sum() < tumour_patches(most):
            left[own] = False
    return Pool(np.where(left, pool.group, ""), pool.tumour)


def draw_sharing(
    pool: Pool, groups: tuple[str, ...], pairs: int, fraction: float, seed: int, *, resample: bool = False
) -> Slides:
    """Draw pseudo-slides that may share patches, the same number from each stain group.

    Args:
        groups: stain groups; those without a patch are passed over.
        resample: whether to draw each group's normal and tumour patches with replacement first: a bootstrap over the shared patches.
    """
    rng = np.random.default_rng(seed)
    positives, rows, known = tumour_patches(fraction), [], {}
    for group in groups:
        kinds = [np.flatnonzero((pool.group == group) & (pool.tumour == kind)) for kind in (False, True)]
        known[group] = [rng.choice(kind, len(kind)) for kind in kinds] if resample else kinds
    there = [kinds for kinds in known.values() if all(map(len, kinds))]
    for number in range(pairs):
        normal, tumour = there[number % len(there)]
        rows.append(rng.choice(normal, SIZE, replace=len(normal) < SIZE))
        ill = rng.choice(tumour, positives, replace=len(tumour) < positives)
        rows.append(np.concatenate([ill, rng.choice(normal, SIZE - positives, replace=len(normal) < SIZE)]))
    return Slides(np.stack(rows))

"""The pool of patches, and the pseudo-slides that are drawn from it.

PatchCamelyon has no slide ids. The patches of a pseudo-slide come from one stain group, as a real slide has one stain. A negative
pseudo-slide has only normal patches, a positive one a given number of tumour patches. The stain groups of the pool's part `train` are
divided: pseudo-slides of some groups train encoders and heads (FIT), those of the others choose settings and stop heads (CHOOSE). The
part `valid`, which was cut from other slides, is TEST.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.errors import DataError

SIZE = 50  # patches of a pseudo-slide
FIT = tuple(f"train-{number}" for number in (0, 1, 2, 4, 6))
CHOOSE = tuple(f"train-{number}" for number in (3, 5, 7, 8, 9))
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
    lacking = [group for group in (*FIT, *CHOOSE, *TEST) if group not in set(pool.group.tolist())]
    if lacking:
        raise DataError(f"{path} lacks the stain groups {', '.join(lacking)}")
    return pool, table


def tumour_patches(fraction: float) -> int:
    """Return the number of tumour patches in a positive pseudo-slide."""
    return round(SIZE * fraction)


def draw_apart(pool: Pool, groups: tuple[str, ...], pairs: int, fraction: float, seed: int) -> Slides:
    """Draw pseudo-slides that share no patch, as many negative as positive.

    With the same seed, every fraction gives the same negative slides, and positive slides with the same normal patches, as many as fit
    beside the tumour. The number of slides of a stain group is proportional to its number of normal patches.

    Raises:
        DataError: there are not enough patches.
    """
    rng = np.random.default_rng(seed)
    normal = {group: rng.permutation(np.flatnonzero((pool.group == group) & ~pool.tumour)) for group in groups}
    tumour = {group: rng.permutation(np.flatnonzero((pool.group == group) & pool.tumour)) for group in groups}
    sizes = np.array([len(normal[group]) for group in groups])
    share = pairs * sizes / sizes.sum()
    counts = np.floor(share).astype(int)
    counts[np.argsort(counts - share)[: pairs - counts.sum()]] += 1
    positives, rows = tumour_patches(fraction), []
    for group, count in zip(groups, counts.tolist(), strict=True):
        if 2 * count * SIZE > len(normal[group]) or count * positives > len(tumour[group]):
            raise DataError(f"{group} has too few patches for {count} slides of each label with {fraction:.0%} tumour")
        for slide in range(count):
            own = normal[group][2 * slide * SIZE : 2 * (slide + 1) * SIZE]
            ill = tumour[group][slide * positives : (slide + 1) * positives]
            rows += [own[:SIZE], np.concatenate([ill, own[SIZE : 2 * SIZE - positives]])]
    return Slides(np.stack(rows))


def draw_sharing(
    pool: Pool, groups: tuple[str, ...], pairs: int, fraction: float, seed: int, *, resample: bool = False
) -> Slides:
    """Draw pseudo-slides that may share patches, the same number from each stain group.

    Args:
        resample: whether to draw each group's normal and tumour patches with replacement first: a bootstrap over the shared patches.
    """
    rng = np.random.default_rng(seed)
    positives, rows, known = tumour_patches(fraction), [], {}
    for group in groups:
        kinds = [np.flatnonzero((pool.group == group) & (pool.tumour == kind)) for kind in (False, True)]
        known[group] = [rng.choice(kind, len(kind)) for kind in kinds] if resample else kinds
    for number in range(pairs):
        normal, tumour = known[groups[number % len(groups)]]
        rows.append(rng.choice(normal, SIZE, replace=len(normal) < SIZE))
        ill = rng.choice(tumour, positives, replace=len(tumour) < positives)
        rows.append(np.concatenate([ill, rng.choice(normal, SIZE - positives, replace=len(normal) < SIZE)]))
    return Slides(np.stack(rows))

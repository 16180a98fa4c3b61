"""A neighbouring patch for the second view of a patch: tissue that is near looks alike, whatever the slide's label.

Pairs of neighbours are positives in self-supervised pathology, too (arXiv:2312.07489, arXiv:2503.05170). A neighbour is a patch of
the same slide and scale whose corner is within `REACH` sides: of a grid without overlap the eight around it. It is chosen among the rows of
the same row group that are of the patch's label, since those are read with it; at the borders of tissue and of the row group there are fewer, and where
there is none, both views are of the patch itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.random import uniform

REACH = 1.5  # sides of a patch
COLUMNS = ("slide_id", "x", "y", "mpp", "patch_size", "level", "patch_size_level0")  # those of them that there are
_NEIGHBOUR = 6  # what a random number is for; see order.py


def neighbour_draws(count: int, share: float, *key: int) -> np.ndarray:
    """For each of `count` patches a number in [0, 1) that chooses its neighbour, or NaN where it shows itself twice.

    Args:
        share: of the patches that show a neighbour.
        key: integers that, with the row, alone decide them.
    """
    draws = uniform(2 * count, _NEIGHBOUR, *key).reshape(count, 2)
    return np.where(draws[:, 0] < share, draws[:, 1], np.nan)


class Neighbours:
    """Which rows of a table are neighbours.

    Args:
        rows: `COLUMNS`, as a manifest has them. Where a patch's side at level 0 is unknown it has no neighbours.
    """

    def __init__(self, rows: pa.Table):
        self._slide = pc.dictionary_encode(rows["slide_id"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
        self._at = np.stack([rows[name].to_numpy() for name in ("x", "y")], axis=1).astype(np.float64)
        self._scale = np.nan_to_num(rows["mpp"].cast(pa.float64()).to_numpy())
        side = np.where(rows["level"].to_numpy() == 0, rows["patch_size"].to_numpy(), 0).astype(np.float64)
        if "patch_size_level0" in rows.column_names:
            known = rows["patch_size_level0"].cast(pa.float64()).to_numpy()
            side = np.where(np.isnan(known), side, known)
        self._side = side

    def of(self, row: int) -> np.ndarray:
        """The rows of a row's neighbours, in order, (n,) int64."""
        distance = np.hypot(*(self._at - self._at[row]).T)
        near = (distance > 0) & (distance <= REACH * self._side[row])
        return np.flatnonzero(near & (self._slide == self._slide[row]) & (self._scale == self._scale[row]))

    def choose(self, row: int, draw: float) -> int | None:
        """One of a row's neighbours; None where it has none.

        Args:
            draw: in [0, 1).
        """
        found = self.of(row)
        return int(found[int(draw * len(found))]) if len(found) else None


def offsets(place: Sequence[int], other: Sequence[int] | None) -> np.ndarray:
    """Where the patches of both views lie, from the patch that was drawn, (2, 2) float32, level-0 px."""
    return np.array([[0, 0], [0, 0] if other is None else np.subtract(other, place)], np.float32)

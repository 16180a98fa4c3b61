"""A neighbouring patch for the second view of a patch: nearby tissue looks alike, whatever the slide's label.

Neighbours are positives in other self-supervised methods for pathology too (arXiv:2312.07489, arXiv:2503.05170). A neighbour is a patch
of the same slide and scale whose corner is within `REACH` sides: in a grid without overlap, one of the eight patches around it. It is
chosen from the patch's group, because the rows of a row group are read together. At the borders of the tissue and of the group there
are fewer neighbours; of a patch without neighbours both views are of the patch itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.random import uniform

REACH = 1.5  # sides of a patch
COLUMNS = ("slide_id", "x", "y", "mpp", "patch_size", "level", "patch_size_level0")  # those that the manifest has
_NEIGHBOUR = 6  # the purpose of these random numbers; see order.py


def neighbour_draws(count: int, share: float, *key: int) -> np.ndarray:
    """Return for each of `count` patches a number in [0, 1) that chooses its neighbour, or NaN if both views are of the patch itself.

    Args:
        share: probability that the second view is of a neighbour.
        key: integers that, together with the index of the patch, determine its number.
    """
    draws = uniform(2 * count, _NEIGHBOUR, *key).reshape(count, 2)
    return np.where(draws[:, 0] < share, draws[:, 1], np.nan)


class Neighbours:
    """The neighbours among the rows of a table.

    Args:
        rows: a manifest's columns `COLUMNS`. A patch has no neighbours if its side at level 0 is unknown.
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
        """Return the rows of a row's neighbours, ascending, (n,) int64."""
        distance = np.hypot(*(self._at - self._at[row]).T)
        near = (distance > 0) & (distance <= REACH * self._side[row])
        return np.flatnonzero(near & (self._slide == self._slide[row]) & (self._scale == self._scale[row]))

    def choose(self, row: int, draw: float) -> int | None:
        """Return one of a row's neighbours; None if it has none.

        Args:
            draw: a number in [0, 1), which chooses.
        """
        found = self.of(row)
        return int(found[int(draw * len(found))]) if len(found) else None


def offsets(place: Sequence[int], other: Sequence[int] | None) -> np.ndarray:
    """Return the positions of both views' patches relative to the patch that was drawn, (2, 2) float32, level-0 px.

    Args:
        place: x and y of the patch that was drawn, level-0 px.
        other: x and y of its neighbour; None if both views are of the patch itself.
    """
    return np.array([[0, 0], [0, 0] if other is None else np.subtract(other, place)], np.float32)

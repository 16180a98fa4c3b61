"""Divide the slides to embed into lots: neighbouring slides, with the row groups that hold their patches.

A process gets one lot at a time and writes the files of its slides, so that a slide is never divided between processes.
Slides that share a row group come into one lot where possible, so that the row group is read once; a row group at the
border of two lots is read for both. In a table whose slides are mixed in all row groups, lots are as large as allowed,
and each reads all row groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.manifest.footers import RowGroup
from wsc_ray.manifest.runs import Runs

LOT_PATCHES = 4096  # aim of a lot's size: about so much work is repeated when a process dies
LOT_SLIDES = 256  # most files that a process has open for a lot
_SHARED = 0.25  # a lot grows while other lots would read more rows again than this part of its patches


@dataclass(frozen=True)
class Part:
    """The rows of a row group that belong to a lot: `runs` are (first row, rows, index into the lot's slides)."""

    file: int
    row_group: int
    runs: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Lot:
    """Some slides, the number of patches of each, and their rows, in the manifest's order."""

    slides: tuple[str, ...]
    sizes: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def patches(self) -> int:
        return sum(self.sizes)


class Lots:
    """The lots of the slides to embed, the largest first, so that processes end at nearly the same time.

    Args:
        runs: see `Manifest.runs`.
        row_groups: see `Manifest.row_groups`.
        slides: ids of the slides to embed.
        workers: number of processes that embed; each gets several lots if there are enough patches.
    """

    def __init__(self, runs: Runs, row_groups: Sequence[RowGroup], slides: Collection[str], workers: int):
        self._runs, self._row_groups = runs, row_groups
        wanted = np.isin(np.array(runs.slides, dtype=object), list(slides))[runs.slide]
        chosen = np.flatnonzero(wanted)
        order = chosen[np.argsort(runs.slide[chosen], kind="stable")]  # slide by slide, each in the manifest's order
        borders = 1 + np.flatnonzero(np.diff(runs.slide[order]) != 0)
        self._runs_of = np.split(order, borders) if len(order) else []
        sizes = [int(runs.rows[own].sum()) for own in self._runs_of]
        self.patches = sum(sizes)
        self._lots = self._gather(sizes, workers)
        self._lots.sort(key=lambda lot: -sum(sizes[slide] for slide in lot))

    def __len__(self) -> int:
        return len(self._lots)

    def __iter__(self) -> Iterator[Lot]:
        return map(self._lot, self._lots)

    def _gather(self, sizes: Sequence[int], workers: int) -> list[list[int]]:
        """Return the lots, each as a list of indices into `_runs_of`."""
        size = min(LOT_PATCHES, -(-self.patches // (4 * workers)))
        most = -(-self.patches // workers)
        runs = self._runs
        left = np.zeros(len(self._row_groups), np.int64)  # rows of each row group that are in no lot yet
        for own in self._runs_of:
            np.add.at(left, runs.group[own], runs.rows[own])
        lots: list[list[int]] = []
        lot: list[int] = []
        shared: set[int] = set()  # the lot's row groups that a later lot must read again
        patches = again = 0  # again: number of rows in `shared`
        for index, own in enumerate(self._runs_of):
            for group, rows in zip(runs.group[own].tolist(), runs.rows[own].tolist(), strict=True):
                left[group] -= rows
                if bool(left[group]) != (group in shared):
                    again += self._row_groups[group].rows if left[group] else -self._row_groups[group].rows
                    shared ^= {group}
            lot.append(index)
            patches += sizes[index]
            enough = patches >= size and (not again or (patches >= 2 * size and again <= _SHARED * patches))
            if enough or patches >= most or len(lot) >= LOT_SLIDES:
                lots.append(lot)
                lot, shared, patches, again = [], set(), 0, 0
        return [*lots, lot] if lot else lots

    def _lot(self, indices: Sequence[int]) -> Lot:
        runs = self._runs
        owner = np.repeat(np.arange(len(indices)), [len(self._runs_of[index]) for index in indices])
        own = np.concatenate([self._runs_of[index] for index in indices])
        order = np.argsort(own)  # the manifest's order
        parts: dict[int, list[tuple[int, int, int]]] = {}
        for run, slide in zip(own[order].tolist(), owner[order].tolist(), strict=True):
            taken = (int(runs.start[run]), int(runs.rows[run]), slide)
            parts.setdefault(int(runs.group[run]), []).append(taken)
        return Lot(
            tuple(runs.slides[runs.slide[self._runs_of[index][0]]] for index in indices),
            tuple(int(runs.rows[self._runs_of[index]].sum()) for index in indices),
            tuple(
                Part(self._row_groups[group].file, self._row_groups[group].row_group, tuple(taken))
                for group, taken in parts.items()
            ),
        )

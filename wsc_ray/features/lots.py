"""Who embeds which slides: lots of neighbouring slides, each lot with the row groups that it reads.

A process gets a lot at a time and writes the files of its slides, so that a slide is never divided between two. Slides that
share a row group come into one lot, and the row group is read once; a lot has an end nevertheless, and a row group at its
border is read for both lots. Where slides lie mixed in all row groups, as in a table that was never ordered, lots are as
large as they may be, and each reads them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.manifest.footers import RowGroup
from wsc_ray.manifest.runs import Runs

LOT_PATCHES = 4096  # what is done again, at most, beside whole slides, when a process dies
LOT_SLIDES = 256  # files that a process has open at a time, at most
_SHARED = 0.25  # of a lot's patches: where more rows than that would be read again for others, it grows instead


@dataclass(frozen=True)
class Part:
    """What a lot takes of a row group: `runs` are (first row, rows, slide as an index into the lot's)."""

    file: int
    row_group: int
    runs: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Lot:
    """Some slides, the patches of each, and where they are, in the manifest's order."""

    slides: tuple[str, ...]
    sizes: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def patches(self) -> int:
        return sum(self.sizes)


class Lots:
    """The lots that embed some slides of a manifest, the largest first, so that the last ones to end are short.

    Args:
        runs: of the manifest, see `Manifest.runs`.
        row_groups: of the manifest.
        slides: ids of those to embed.
        workers: processes that embed; there are some lots for each, where there is enough.
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
        """Places in `_runs_of`, a list a lot."""
        size = min(LOT_PATCHES, -(-self.patches // (4 * workers)))
        most = -(-self.patches // workers)
        runs = self._runs
        left = np.zeros(len(self._row_groups), np.int64)  # rows of each row group that no lot has yet
        for own in self._runs_of:
            np.add.at(left, runs.group[own], runs.rows[own])
        lots: list[list[int]] = []
        lot: list[int] = []
        shared: set[int] = set()  # the lot's row groups that a later lot has to read again
        patches = again = 0  # again: rows of those row groups
        for place, own in enumerate(self._runs_of):
            for group, rows in zip(runs.group[own].tolist(), runs.rows[own].tolist(), strict=True):
                left[group] -= rows
                if bool(left[group]) != (group in shared):
                    again += self._row_groups[group].rows if left[group] else -self._row_groups[group].rows
                    shared ^= {group}
            lot.append(place)
            patches += sizes[place]
            enough = patches >= size and (not again or (patches >= 2 * size and again <= _SHARED * patches))
            if enough or patches >= most or len(lot) >= LOT_SLIDES:
                lots.append(lot)
                lot, shared, patches, again = [], set(), 0, 0
        return [*lots, lot] if lot else lots

    def _lot(self, places: Sequence[int]) -> Lot:
        runs = self._runs
        owner = np.repeat(np.arange(len(places)), [len(self._runs_of[place]) for place in places])
        own = np.concatenate([self._runs_of[place] for place in places])
        order = np.argsort(own)  # the manifest's order
        parts: dict[int, list[tuple[int, int, int]]] = {}
        for run, slide in zip(own[order].tolist(), owner[order].tolist(), strict=True):
            taken = (int(runs.start[run]), int(runs.rows[run]), slide)
            parts.setdefault(int(runs.group[run]), []).append(taken)
        return Lot(
            tuple(runs.slides[runs.slide[self._runs_of[place][0]]] for place in places),
            tuple(int(runs.rows[self._runs_of[place]].sum()) for place in places),
            tuple(
                Part(self._row_groups[group].file, self._row_groups[group].row_group, tuple(taken))
                for group, taken in parts.items()
            ),
        )

"""The line of a class: its patches in passes, one pass after the other, without end.

A class consists of runs, neighbouring rows of one row group that are of one source. Every source gives a fixed number
of places to a pass: a row group all its rows, or, where slides or patients are to weigh the same, each of them the same
number. A source with more rows shows the next ones in the next pass, one with fewer goes round its own in laps. A pass
shuffles row groups (and their laps), never runs: reading a stretch of it reads a few row groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.random import permutation, raw

_PASS, _ROTATE = 1, 4  # what a random number is for, so that no two uses share one; see `order` for 2 and 3


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """The runs of a class and what its sources give to a pass; all int64.

    Attributes:
        group: (runs,) row group, an index into the class's row groups.
        start: (runs,) first row inside it.
        rows: (runs,).
        source: (runs,) index into `sizes` and `places`.
        offset: (runs,) rows of the same source in the runs before.
        sizes: (sources,) rows.
        places: (sources,) places of a pass.
    """

    group: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    source: np.ndarray
    offset: np.ndarray
    sizes: np.ndarray
    places: np.ndarray

    @property
    def total(self) -> int:
        """Places of a pass."""
        return int(self.places.sum())

    @property
    def rotates(self) -> bool:
        """Whether one pass holds other patches than the next."""
        return bool((self.places % self.sizes).any())


def whole_groups(sizes: Sequence[int] | np.ndarray) -> ClassOrder:
    """Every patch once a pass.

    Args:
        sizes: (row groups,) rows of each, at least 1.
    """
    rows = np.asarray(sizes, dtype=np.int64)
    groups, zeros = np.arange(len(rows)), np.zeros_like(rows)
    return ClassOrder(group=groups, start=zeros, rows=rows, source=groups, offset=zeros, sizes=rows, places=rows)


def equal_sources(
    group: np.ndarray, start: np.ndarray, rows: np.ndarray, source: np.ndarray, part: np.ndarray
) -> ClassOrder:
    """Every source the same number of places a pass: the mean of their rows, rounded, and at least 1.

    Args:
        group, start, rows: see `ClassOrder`.
        source: (runs,) any integers, the same for runs of the same source.
        part: (runs,) likewise, within a source: its parts (a patient's slides) take turns in proportion to their rows,
            so that a pass which shows some of the source shows some of each part.
    """
    _, source = np.unique(source, return_inverse=True)
    _, part = np.unique(part, return_inverse=True)
    progress = (2 * _before(rows, part) + rows) / np.bincount(part, weights=rows)[part]
    order = np.lexsort((progress, source))
    group, start, rows, source = group[order], start[order], rows[order], source[order]
    sizes = np.bincount(source, weights=rows).astype(np.int64)
    mean = (2 * int(sizes.sum()) + len(sizes)) // (2 * len(sizes))
    places = np.full(len(sizes), max(mean, 1), dtype=np.int64)
    return ClassOrder(group, start, rows, source, offset=_before(rows, source), sizes=sizes, places=places)


def locate(lines: ClassOrder, places: np.ndarray, *, seed: int, kind: int, epoch: int, passes: int) -> np.ndarray:
    """What lies at places of the line of an epoch.

    Args:
        places: (n,) int64 from 0 on; a pass has `lines.total`.
        passes: passes an epoch, so that sources go on in the next epoch where they stopped.

    Returns:
        (n, 2) int64: row group and row inside it.
    """
    found = np.empty((len(places), 2), dtype=np.int64)
    numbers, offsets = np.divmod(places, lines.total)
    for number in np.unique(numbers).tolist():
        here = numbers == number
        group, start, rows = _segments(lines, epoch * passes + number, (seed, kind), (seed, kind, epoch, number))
        ends = np.cumsum(rows)
        index = np.searchsorted(ends, offsets[here], side="right")
        found[here, 0] = group[index]
        found[here, 1] = start[index] + offsets[here] - (ends[index] - rows[index])
    return found


def _segments(
    lines: ClassOrder, turn: int, line_key: tuple[int, ...], pass_key: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pass as neighbouring rows in its order: row group, first row and rows of each, (segments,) int64.

    A source shows its rows from the one at which the pass before ended, round and round: whole laps, then a rest.

    Args:
        turn: passes before this one since the run began.
    """
    laps, rest = np.divmod(lines.places, lines.sizes)
    first = (raw(len(laps), _ROTATE, *line_key) % lines.sizes.astype(np.uint64)).astype(np.int64)
    first = (first + turn % lines.sizes * lines.places) % lines.sizes
    run, lap = _repeated(laps[lines.source])
    parts = [(run, lap, lines.start[run], lines.rows[run])]
    # The rest is one stretch of the source's rows, or two where it goes past their end.
    for low, high in (
        (first, np.minimum(first + rest, lines.sizes)),
        (np.zeros_like(first), np.maximum(first + rest - lines.sizes, 0)),
    ):
        low = np.maximum(low[lines.source], lines.offset)
        rows = np.minimum(high[lines.source], lines.offset + lines.rows) - low
        run = np.flatnonzero(rows > 0)
        parts.append((run, laps[lines.source[run]], (lines.start + low - lines.offset)[run], rows[run]))
    run, lap, start, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    group = lines.group[run]
    # Laps are shuffled apart, so that a small slide's patches do not meet their own copies.
    units, unit = np.unique(group * (laps.max() + 1) + lap, return_inverse=True)
    rank = np.argsort(permutation(len(units), _PASS, *pass_key))
    order = np.lexsort((start, rank[unit]))
    return group[order], start[order], rows[order]


def _repeated(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index `i` `counts[i]` times, and the how-manieth time it is."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - (np.cumsum(counts) - counts)[index]


def _before(rows: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Rows of the same owner (0, 1, ...) in the runs before, (runs,) int64."""
    order = np.argsort(owner, kind="stable")
    before = np.empty_like(rows)
    before[order] = np.cumsum(rows[order]) - rows[order]
    sizes = np.bincount(owner, weights=rows).astype(np.int64)
    return before - (np.cumsum(sizes) - sizes)[owner]

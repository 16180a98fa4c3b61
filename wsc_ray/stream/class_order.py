"""The order of one class: an endless line of passes over its patches, each pass a sequence of slots.

A class consists of runs; a run is neighbouring rows of one row group that belong to one source. A source is a row
group, or a slide or patient where these are to weigh the same. Every source fills a fixed number of slots in each pass:
a row group as many as it has rows, a slide or patient as many as every other. A source with more rows than slots shows
its next rows in the next pass; a source with fewer rows shows all its rows several times, once a lap. A pass shuffles
row groups (and laps), never the rows of a run, so that reading a stretch of a pass reads a few row groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.random import permutation, raw

_PASS, _ROTATE = 1, 4  # part of a random stream's key: one number for each use; `order.py` has 2 and 3


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """The runs of a class, and how many slots of a pass each source fills; all arrays are int64.

    Attributes:
        group: (runs,) row group of each run, an index into the class's row groups.
        start: (runs,) first row of each run inside its row group.
        rows: (runs,) number of rows of each run.
        source: (runs,) source of each run, an index into `sizes` and `slots`.
        offset: (runs,) number of rows that earlier runs of the same source hold.
        sizes: (sources,) number of rows of each source.
        slots: (sources,) number of slots that each source fills in a pass.
    """

    group: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    source: np.ndarray
    offset: np.ndarray
    sizes: np.ndarray
    slots: np.ndarray

    @property
    def total(self) -> int:
        """Number of slots in a pass."""
        return int(self.slots.sum())

    @property
    def rotates(self) -> bool:
        """Whether one pass shows other patches than the next."""
        return bool((self.slots % self.sizes).any())


def whole_groups(sizes: Sequence[int] | np.ndarray) -> ClassOrder:
    """Return the order that shows every patch once in each pass.

    Args:
        sizes: (row groups,) number of rows of each, at least 1.
    """
    rows = np.asarray(sizes, dtype=np.int64)
    groups, zeros = np.arange(len(rows)), np.zeros_like(rows)
    return ClassOrder(group=groups, start=zeros, rows=rows, source=groups, offset=zeros, sizes=rows, slots=rows)


def equal_sources(
    group: np.ndarray, start: np.ndarray, rows: np.ndarray, source: np.ndarray, part: np.ndarray
) -> ClassOrder:
    """Return the order in which every source fills the same number of slots: the mean of their rows, rounded, at least 1.

    Args:
        group, start, rows: see `ClassOrder`.
        source: (runs,) any integers, the same for runs of the same source.
        part: (runs,) any integers, the same for runs of the same part of a source (a slide of a patient). Parts take
            turns in proportion to their rows, so that a pass that shows some rows of a source shows some of each part.
    """
    _, source = np.unique(source, return_inverse=True)
    _, part = np.unique(part, return_inverse=True)
    progress = (2 * _before(rows, part) + rows) / np.bincount(part, weights=rows)[part]
    order = np.lexsort((progress, source))
    group, start, rows, source = group[order], start[order], rows[order], source[order]
    sizes = np.bincount(source, weights=rows).astype(np.int64)
    mean = (2 * int(sizes.sum()) + len(sizes)) // (2 * len(sizes))
    slots = np.full(len(sizes), max(mean, 1), dtype=np.int64)
    return ClassOrder(group, start, rows, source, offset=_before(rows, source), sizes=sizes, slots=slots)


def locate(class_order: ClassOrder, slots: np.ndarray, *, seed: int, kind: int, epoch: int, passes: int) -> np.ndarray:
    """Return the patches that fill slots of an epoch.

    Args:
        slots: (n,) int64, counted from the start of the epoch; a pass has `class_order.total` of them.
        kind: `PURE` or `MIXED`; with `seed` and `epoch` it seeds the shuffling.
        passes: number of passes in an epoch, so that sources go on in the next epoch where they stopped.

    Returns:
        (n, 2) int64: row group, and row inside the row group.
    """
    located = np.empty((len(slots), 2), dtype=np.int64)
    numbers, offsets = np.divmod(slots, class_order.total)
    for number in np.unique(numbers).tolist():
        here = numbers == number
        group, start, rows = _segments(class_order, epoch * passes + number, (seed, kind), (seed, kind, epoch, number))
        ends = np.cumsum(rows)
        index = np.searchsorted(ends, offsets[here], side="right")
        located[here, 0] = group[index]
        located[here, 1] = start[index] + offsets[here] - (ends[index] - rows[index])
    return located


def _segments(
    class_order: ClassOrder, turn: int, class_key: tuple[int, ...], pass_key: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a pass as segments of neighbouring rows, in the order of the pass.

    A source shows its rows cyclically, beginning where the pass before ended: whole laps, then a remainder.

    Args:
        turn: number of passes before this one since the run began.

    Returns:
        Row group, first row inside it and number of rows of each segment, all (segments,) int64.
    """
    laps, rest = np.divmod(class_order.slots, class_order.sizes)
    first = (raw(len(laps), _ROTATE, *class_key) % class_order.sizes.astype(np.uint64)).astype(np.int64)
    first = (first + turn % class_order.sizes * class_order.slots) % class_order.sizes
    run, lap = _repeated(laps[class_order.source])
    parts = [(run, lap, class_order.start[run], class_order.rows[run])]
    # The remainder is one stretch of the source's rows, or two where it goes past their end.
    for low, high in (
        (first, np.minimum(first + rest, class_order.sizes)),
        (np.zeros_like(first), np.maximum(first + rest - class_order.sizes, 0)),
    ):
        low = np.maximum(low[class_order.source], class_order.offset)
        rows = np.minimum(high[class_order.source], class_order.offset + class_order.rows) - low
        run = np.flatnonzero(rows > 0)
        parts.append(
            (run, laps[class_order.source[run]], (class_order.start + low - class_order.offset)[run], rows[run])
        )
    run, lap, start, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    group = class_order.group[run]
    # Each lap is shuffled as a unit of its own, so that a small slide's patches do not meet their own copies.
    units, unit = np.unique(group * (laps.max() + 1) + lap, return_inverse=True)
    rank = np.argsort(permutation(len(units), _PASS, *pass_key))
    order = np.lexsort((start, rank[unit]))
    return group[order], start[order], rows[order]


def _repeated(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each index `i` repeated `counts[i]` times, and the number of each repetition, counted from 0."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - (np.cumsum(counts) - counts)[index]


def _before(rows: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return how many rows earlier runs of the same owner (0, 1, ...) hold, (runs,) int64."""
    order = np.argsort(owner, kind="stable")
    before = np.empty_like(rows)
    before[order] = np.cumsum(rows[order]) - rows[order]
    sizes = np.bincount(owner, weights=rows).astype(np.int64)
    return before - (np.cumsum(sizes) - sizes)[owner]

"""Which patches a step holds: a pure function of (row groups, seed, epoch, step), whatever the number of workers.

Each class, pure and mixed, gives half of every global batch. Its order is cut into `shards`; a shard gives the same
`per_step` patches to every step, and a worker takes a run of neighbouring shards. So the global batch is the same for
every number of workers that divides the shards (the idea of MosaicML Streaming's canonical nodes).

A pass over a class is its row groups in a shuffled order, read as one long line of patches. A shard owns a stretch of
that line and walks it in windows of some steps; only inside a window are patches shuffled, so a window reads a few
whole row groups and never one patch here and one there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from wsc_ray.stream.random import permutation, raw

PURE, MIXED = 0, 1
_PASS, _START, _DRAW = 1, 2, 3  # what a random number is for, so that no two uses share one


@dataclass(frozen=True)
class Geometry:
    """How steps are divided: what must stay the same for the order to stay the same.

    Args:
        seed: of the whole order.
        sampling: `epoch`: passes without repetition; `replacement`: draws with replacement inside each window, which
            starts at a random place of the pass, so that every patch is as likely at every draw.
        batch_size: patches of a global batch, half of each class.
        shards: divides `batch_size / 2`.
        steps: steps of an epoch.
        window: steps shuffled together.
    """

    seed: int
    sampling: Literal["epoch", "replacement"]
    batch_size: int
    shards: int
    steps: int
    window: int

    @property
    def half(self) -> int:
        return self.batch_size // 2

    @property
    def per_step(self) -> int:
        """Patches that a shard gives to a step, of each class."""
        return self.half // self.shards

    @property
    def windows(self) -> int:
        """Windows of an epoch; the last may be shorter."""
        return -(-self.steps // self.window)

    def window_steps(self, window: int) -> range:
        """The steps, counted within the epoch, that a window covers."""
        return range(window * self.window, min((window + 1) * self.window, self.steps))


def window_rows(
    geometry: Geometry, sizes: tuple[int, ...], kind: int, epoch: int, window: int, shard: int
) -> np.ndarray:
    """The patches that one shard gives to the steps of one window.

    Args:
        sizes: rows of each row group of the class, in the manifest's order.
        kind: `PURE` or `MIXED`.

    Returns:
        (steps of the window, per_step, 2) int64: row group (an index into `sizes`) and row inside it.
    """
    steps = geometry.window_steps(window)
    count = len(steps) * geometry.per_step
    key = (geometry.seed, kind, epoch, window, shard)
    total = sum(sizes)
    if geometry.sampling == "epoch":
        first = (shard * geometry.steps + steps.start) * geometry.per_step
        places = first + permutation(count, _DRAW, *key)
    else:
        first = int(raw(1, _START, *key)[0] % np.uint64(total))
        places = (first + (raw(count, _DRAW, *key) % np.uint64(min(count, total))).astype(np.int64)) % total
    return _patches_at(geometry.seed, sizes, kind, epoch, places).reshape(len(steps), geometry.per_step, 2)


def worker_shards(shards: int, rank: int, world_size: int) -> range:
    """The neighbouring shards that a worker takes."""
    each = shards // world_size
    return range(rank * each, (rank + 1) * each)


def epoch_steps(rows: dict[int, int], batch_size: int) -> int:
    """Steps in which each patch of the larger class comes once; a rest smaller than half a batch waits for another
    epoch, whose order leaves out another rest."""
    return max(rows.values()) // (batch_size // 2)


def _patches_at(seed: int, sizes: tuple[int, ...], kind: int, epoch: int, places: np.ndarray) -> np.ndarray:
    """Row group and row, (n, 2), at places of the endless line of passes over the class."""
    total = sum(sizes)
    found = np.empty((len(places), 2), dtype=np.int64)
    passes, offsets = np.divmod(places, total)
    for number in np.unique(passes):
        here = passes == number
        groups, ends = _line(seed, sizes, kind, epoch, int(number))
        index = np.searchsorted(ends, offsets[here], side="right")
        found[here, 0] = groups[index]
        found[here, 1] = offsets[here] - (ends[index] - np.asarray(sizes)[groups[index]])
    return found


@lru_cache(maxsize=8)
def _line(seed: int, sizes: tuple[int, ...], kind: int, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Row groups of a pass in their order, and where each ends on the line of patches."""
    groups = permutation(len(sizes), _PASS, seed, kind, epoch, number)
    return groups, np.cumsum(np.asarray(sizes, dtype=np.int64)[groups])

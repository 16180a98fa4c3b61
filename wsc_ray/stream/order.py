"""Which patches a step holds: a pure function of (row groups, seed, epoch, step), whatever the number of workers.

Each class, pure and mixed, gives half of every global batch. Its order is cut into `shards`; a shard gives the same
`per_step` patches to every full step, and a worker takes a run of neighbouring shards. So the global batch is the same
for every number of workers up to that of shards (the idea of MosaicML Streaming's canonical nodes).

A class is a line of passes over its row groups (see `lines`). A shard owns a stretch of that line and walks it in
windows of some steps; only inside a window are patches shuffled, so a window reads a few whole row groups and never
one patch here and one there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from wsc_ray.random import permutation, raw
from wsc_ray.stream.class_order import ClassOrder, locate

PURE, MIXED = 0, 1
_START, _DRAW = 2, 3  # what a random number is for, so that no two uses share one; see `lines` for the others


@dataclass(frozen=True)
class Geometry:
    """How steps are divided: what must stay the same for the order to stay the same.

    Args:
        seed: of the whole order.
        sampling: `epoch`: passes without repetition; `replacement`: draws with replacement inside each window, which
            starts at a random place of the pass, so that every patch is as likely at every draw.
        batch_size: patches of a full global batch, half of each class.
        shards: divides `batch_size / 2`.
        steps: steps of an epoch.
        window: steps shuffled together.
        rest: patches of each class, fewer than half a batch, that full batches leave over. Where there are some, the
            last two steps share them and one full batch evenly, so that no step is small.
    """

    seed: int
    sampling: Literal["epoch", "replacement"]
    batch_size: int
    shards: int
    steps: int
    window: int
    rest: int = 0

    @property
    def half(self) -> int:
        return self.batch_size // 2

    @property
    def per_step(self) -> int:
        """Patches that a shard gives to a full step, of each class."""
        return self.half // self.shards

    @property
    def full_steps(self) -> int:
        """Steps of an epoch before the short ones."""
        return self.steps - 2 if self.rest else self.steps

    @property
    def patches(self) -> int:
        """Patches of each class in an epoch."""
        return self.patches_until(self.steps)

    @property
    def windows(self) -> int:
        """Windows of an epoch; the last may be shorter."""
        return -(-self.steps // self.window)

    def window_steps(self, window: int) -> range:
        """The steps, counted within the epoch, that a window covers."""
        return range(window * self.window, min((window + 1) * self.window, self.steps))

    def size(self, step: int) -> int:
        """Patches of each class in a step, counted within the epoch."""
        if step < self.full_steps:
            return self.half
        return (self.half + self.rest + self.steps - 1 - step) // 2

    def patches_until(self, step: int) -> int:
        """Patches of each class in the steps of an epoch before `step`."""
        full = min(step, self.full_steps)
        return full * self.half + sum(self.size(short) for short in range(full, step))

    def first_position(self, step: int, shard: int) -> int:
        """The place, among the class's patches of the global batch, of the first one that a shard gives to a step.

        For `shard` = `shards` it is the end. Shards give the same number to a step, or numbers that differ by one.
        """
        return shard * self.size(step) // self.shards


def window_picks(
    geometry: Geometry, lines: ClassOrder, kind: int, epoch: int, window: int, shards: range
) -> list[np.ndarray]:
    """The patches that some neighbouring shards give to the steps of one window.

    Args:
        lines: of the class; see `Plan.lines`.
        kind: `PURE` or `MIXED`.

    Returns:
        For each step of the window (patches of these shards in it, 2) int64, in the order of the global batch: row
        group (an index into the class's) and row inside it.
    """
    steps = geometry.window_steps(window)
    edges = np.array(
        [[geometry.first_position(step, shard) for step in steps] for shard in [*shards, shards.stop]], dtype=np.int64
    )
    counts = np.diff(edges, axis=0)  # (shards, steps)
    owned = counts.sum(axis=1).tolist()
    keys = [(geometry.seed, kind, epoch, window, shard) for shard in shards]
    if geometry.sampling == "epoch":
        passes = -(-geometry.patches // lines.total)
        places = [
            _first_place(geometry, steps.start, shard) + permutation(count, _DRAW, *key)
            for shard, count, key in zip(shards, owned, keys, strict=True)
        ]
    else:
        passes = geometry.windows
        # Where passes differ, a window has one of its own, or an epoch would show the patches of one pass only.
        first = window * lines.total if lines.rotates else 0
        places = [first + _draws(lines.total, count, key) for count, key in zip(owned, keys, strict=True)]
    found = locate(lines, np.concatenate(places), seed=geometry.seed, kind=kind, epoch=epoch, passes=passes)
    step = np.repeat(np.tile(np.arange(len(steps)), len(shards)), counts.ravel())
    return np.split(found[np.argsort(step, kind="stable")], np.cumsum(counts.sum(axis=0))[:-1])


def worker_shards(shards: int, rank: int, world_size: int) -> range:
    """The neighbouring shards that a worker takes: as many as every other, or one more or less."""
    return range(rank * shards // world_size, (rank + 1) * shards // world_size)


def worker_patches(geometry: Geometry, step: int, world_size: int) -> list[int]:
    """Patches, of both classes together, that each worker gets of a step counted within the epoch."""
    edges = [geometry.first_position(step, rank * geometry.shards // world_size) for rank in range(world_size + 1)]
    return [2 * (end - begin) for begin, end in pairwise(edges)]


def epoch_steps(places: int, half: int) -> tuple[int, int]:
    """Steps in which each of `places` of the larger class comes once, and `Geometry.rest`; (0, rest) if too few."""
    full, rest = divmod(places, half)
    return full + (full > 0 and rest > 0), rest


def _first_place(geometry: Geometry, begin: int, shard: int) -> int:
    """Where on the epoch's line the shard's part of step `begin` starts.

    A shard's stretch comes after those of the shards before, each of which holds what that shard gives to all steps.
    """
    full = geometry.full_steps
    first = (full * shard + min(begin, full)) * geometry.per_step
    first += sum(geometry.first_position(step, shard) for step in range(full, geometry.steps))
    return first + sum(
        geometry.first_position(step, shard + 1) - geometry.first_position(step, shard) for step in range(full, begin)
    )


def _draws(total: int, count: int, key: tuple[int, ...]) -> np.ndarray:
    """`count` draws with replacement from as many neighbouring places of a pass, which start anywhere."""
    first = int(raw(1, _START, *key)[0] % np.uint64(total))
    return (first + (raw(count, _DRAW, *key) % np.uint64(min(count, total))).astype(np.int64)) % total

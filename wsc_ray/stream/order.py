"""Which patches each step holds: a pure function of (row groups, seed, epoch, step), for any number of workers.

Each class, pure and mixed, fills half of every global batch. The order of a class is cut into `shards`; a shard gives
the same number of patches, `per_step`, to every full step, and a worker takes neighbouring shards. The global batch is
therefore the same for every number of workers up to the number of shards (the idea of MosaicML Streaming's canonical
nodes).

The order of a class is a line of passes over its row groups (see `class_order`). A shard owns a stretch of that line
and goes through it in windows of some steps. Patches are shuffled inside a window only, so that a window reads a few
whole row groups instead of single patches from many.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from wsc_ray.random import permutation, raw
from wsc_ray.stream.class_order import ClassOrder, locate

PURE, MIXED = 0, 1
_START, _DRAW = 2, 3  # part of a random stream's key: one number for each use; see also `class_order.py`, 4 and 5


@dataclass(frozen=True)
class Geometry:
    """How an epoch is divided into steps, shards and windows. The sample order stays the same while this does.

    Args:
        seed: seed of the whole order.
        sampling: `epoch`: passes without repetition; `replacement`: draws with replacement inside each window. Such a
            window starts at a random slot of the pass, so that every patch is equally likely at every draw.
        batch_size: patches of a full global batch, half of each class.
        shards: number of shards; divides `batch_size / 2`.
        steps: steps of an epoch.
        window: number of steps that are shuffled together.
        rest: patches of each class, fewer than half a batch, that remain after the full batches. If there are any, the
            last two steps divide them and one full batch evenly, so that no step is small.
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
        """Patches of each class that a shard gives to a full step."""
        return self.half // self.shards

    @property
    def full_steps(self) -> int:
        """Number of full steps in an epoch; the shorter ones come after them."""
        return self.steps - 2 if self.rest else self.steps

    @property
    def patches(self) -> int:
        """Number of patches of each class in an epoch."""
        return self.patches_until(self.steps)

    @property
    def windows(self) -> int:
        """Number of windows in an epoch; the last may be shorter."""
        return -(-self.steps // self.window)

    def window_steps(self, window: int) -> range:
        """Return the steps, counted within the epoch, that a window covers."""
        return range(window * self.window, min((window + 1) * self.window, self.steps))

    def size(self, step: int) -> int:
        """Return the number of patches of each class in a step; `step` is counted within the epoch."""
        if step < self.full_steps:
            return self.half
        return (self.half + self.rest + self.steps - 1 - step) // 2

    def patches_until(self, step: int) -> int:
        """Return the number of patches of each class in the steps of an epoch before `step`."""
        full = min(step, self.full_steps)
        return full * self.half + sum(self.size(short) for short in range(full, step))

    def first_position(self, step: int, shard: int) -> int:
        """Return the position of a shard's first patch among the class's patches in the global batch of a step.

        For `shard` = `shards` this is the end. Shards give equal numbers of patches to a step, or numbers that differ
        by one.
        """
        return shard * self.size(step) // self.shards


def window_picks(
    geometry: Geometry, class_order: ClassOrder, kind: int, epoch: int, window: int, shards: range
) -> list[np.ndarray]:
    """Return the patches that neighbouring shards give to the steps of one window.

    Args:
        class_order: order of the class; see `Plan.orders`.
        kind: `PURE` or `MIXED`.

    Returns:
        One array for each step of the window, (patches of these shards in the step, 2) int64, in the order of the
        global batch: row group (an index into the class's row groups) and row inside it.
    """
    steps = geometry.window_steps(window)
    edges = np.array(
        [[geometry.first_position(step, shard) for step in steps] for shard in [*shards, shards.stop]], dtype=np.int64
    )
    counts = np.diff(edges, axis=0)  # (shards, steps)
    owned = counts.sum(axis=1).tolist()
    keys = [(geometry.seed, kind, epoch, window, shard) for shard in shards]
    if geometry.sampling == "epoch":
        passes = -(-geometry.patches // class_order.total)
        slots = [
            _first_slot(geometry, steps.start, shard) + permutation(count, _DRAW, *key)
            for shard, count, key in zip(shards, owned, keys, strict=True)
        ]
    else:
        passes = geometry.windows
        # Where passes differ, each window draws from a pass of its own; else an epoch would show one pass's patches only.
        first = window * class_order.total if class_order.rotates else 0
        slots = [first + _draws(class_order.total, count, key) for count, key in zip(owned, keys, strict=True)]
    located = locate(class_order, np.concatenate(slots), seed=geometry.seed, kind=kind, epoch=epoch, passes=passes)
    step = np.repeat(np.tile(np.arange(len(steps)), len(shards)), counts.ravel())
    return np.split(located[np.argsort(step, kind="stable")], np.cumsum(counts.sum(axis=0))[:-1])


def worker_shards(shards: int, rank: int, world_size: int) -> range:
    """Return the neighbouring shards of a worker. Workers have equal numbers of shards, or numbers that differ by one."""
    return range(rank * shards // world_size, (rank + 1) * shards // world_size)


def worker_patches(geometry: Geometry, step: int, world_size: int) -> list[int]:
    """Return how many patches, both classes together, each worker gets in a step; `step` is counted within the epoch."""
    edges = [geometry.first_position(step, rank * geometry.shards // world_size) for rank in range(world_size + 1)]
    return [2 * (end - begin) for begin, end in pairwise(edges)]


def epoch_steps(slots: int, half: int) -> tuple[int, int]:
    """Return the number of steps that a pass of the larger class takes, and `Geometry.rest`.

    Args:
        slots: slots of that pass.
        half: patches of each class in a full step. With fewer slots there are 0 steps.
    """
    full, rest = divmod(slots, half)
    return full + (full > 0 and rest > 0), rest


def _first_slot(geometry: Geometry, begin: int, shard: int) -> int:
    """Return the slot of the epoch at which a shard's part of step `begin` starts.

    Shards own stretches of slots in their order; a shard's stretch holds its patches of all steps.
    """
    full = geometry.full_steps
    first = (full * shard + min(begin, full)) * geometry.per_step
    first += sum(geometry.first_position(step, shard) for step in range(full, geometry.steps))
    return first + sum(
        geometry.first_position(step, shard + 1) - geometry.first_position(step, shard) for step in range(full, begin)
    )


def _draws(total: int, count: int, key: tuple[int, ...]) -> np.ndarray:
    """Return `count` draws with replacement from `count` neighbouring slots of a pass, which start at a random one."""
    first = int(raw(1, _START, *key)[0] % np.uint64(total))
    return (first + (raw(count, _DRAW, *key) % np.uint64(min(count, total))).astype(np.int64)) % total

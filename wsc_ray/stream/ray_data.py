"""The Ray Data glue: Ray tasks read, decode and augment a worker's windows, on its node or anywhere in the cluster.

Every worker makes and runs a data set of its own, which begins at the step where the worker resumes, so that the order
follows the plan and nothing before that step is read. The worker itself only receives finished batches of bytes, or of
half-precision features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import ray.data

from wsc_ray.recipe.sections import Augment, Stream
from wsc_ray.stream.order import worker_patches, worker_shards
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.ray_pace import start_pace
from wsc_ray.stream.ray_source import Batch, read_calls
from wsc_ray.stream.read import DEFAULTS, read_window
from wsc_ray.stream.readers import Readers
from wsc_ray.stream.source import Source
from wsc_ray.stream.views import step_bytes

PREFETCH = 2  # blocks


def worker_batches(
    plan: Plan,
    source: Source,
    augment: Augment,
    *,
    rank: int,
    world_size: int,
    first_step: int,
    readers: Readers,
    stream: Stream = DEFAULTS,
) -> Iterator[Batch]:
    """Yield a worker's batches from `first_step` to the end of the run, one per step, in order; see `read_window`.

    Args:
        readers: how many windows are read at a time, ahead of the one that training is at, and on which node. Their
            tasks ask Ray for no CPU: Ray Data divides a node's free CPUs among all data sets, rounded down to whole
            numbers, so that with fewer free CPUs than workers every data set would get none and would read a window
            only when training waits for it.
    """
    geometry = plan.geometry
    if first_step >= plan.total_steps:
        return
    rows = min(worker_patches(geometry, geometry.steps - 1, world_size))  # fewest patches that a worker gets in a step
    least = step_bytes(source, augment, on_device=stream.augment_on == "device", rows=rows)
    block_bytes = max(1 << 20, least)  # small: the trainer gets a window's first step before its last is decoded
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = block_bytes
    pace = start_pace(first_step)
    # A step is complete once the block with the first row of the next step has come, and Ray Data hands out a block once
    # it has the prefetched ones: with less lead, reading and training would wait for each other.
    block_steps = 2 * block_bytes // least + 1  # Ray Data exceeds the size of a block by half at most
    lead = readers.count * geometry.window + (PREFETCH + 2) * block_steps
    shards = worker_shards(geometry.shards, rank, world_size)
    windows = _Windows(plan, source, augment, stream, shards, first_step, lead, pace)
    data = read_calls(windows.read, windows.count, num_cpus=0, concurrency=readers.count, node=readers.node)
    # A single split, since its executor is then an actor. In this process the executor would compete for the
    # interpreter's lock with the many small operations of a training step.
    (split,) = data.streaming_split(1, equal=False)
    blocks: Iterable[Batch] = split.iter_batches(  # type: ignore[assignment]  # the type for the format `numpy`
        batch_size=None,  # type: ignore[arg-type]  # whole blocks, as its documentation says
        batch_format="numpy",
        prefetch_batches=PREFETCH,
    )
    for step, batch in enumerate(by_step(blocks), start=first_step):
        pace.reach.remote(step)
        yield batch


def by_step(blocks: Iterable[Batch]) -> Iterator[Batch]:
    """Cut and join blocks of rows, which come in order of `step`, and yield one batch per step."""
    parts: list[Batch] = []
    for block in blocks:
        cuts = np.flatnonzero(np.diff(block["step"])) + 1
        for begin, end in zip([0, *cuts], [*cuts, len(block["step"])], strict=True):
            part = {name: values[begin:end] for name, values in block.items()}
            if parts and parts[0]["step"][0] != part["step"][0]:
                yield _joined(parts)
                parts = []
            parts.append(part)
    if parts:
        yield _joined(parts)


def _joined(parts: list[Batch]) -> Batch:
    batch = parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    images = batch.get("images")
    if images is not None and images.dtype == object:  # the block held steps with different patch sizes
        batch = {**batch, "images": np.stack(list(images))}
    return batch


@dataclass(frozen=True)
class _Windows:
    """A worker's windows from the one that holds `first_step` to the end of the run, numbered from 0."""

    plan: Plan
    source: Source
    augment: Augment
    stream: Stream
    shards: range
    first_step: int
    lead: int
    pace: Any  # see `start_pace`

    @property
    def count(self) -> int:
        geometry = self.plan.geometry
        return self.plan.epochs * geometry.windows - self._first

    @property
    def _first(self) -> int:
        """Number, within the run, of the window that holds `first_step`."""
        geometry = self.plan.geometry
        epoch, step = divmod(self.first_step, geometry.steps)
        return epoch * geometry.windows + step // geometry.window

    def read(self, number: int) -> Iterator[Batch]:
        """Yield the batches of a window, once training is within `lead` steps of it."""
        geometry = self.plan.geometry
        epoch, window = divmod(self._first + number, geometry.windows)
        begins = epoch * geometry.steps + geometry.window_steps(window).start
        ray.get(self.pace.until.remote(begins - self.lead))
        yield from read_window(
            self.plan,
            self.source,
            self.augment,
            epoch=epoch,
            window=window,
            shards=self.shards,
            first_step=self.first_step,
            stream=self.stream,
        )

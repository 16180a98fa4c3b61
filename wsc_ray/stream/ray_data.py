"""The Ray Data glue: a worker's windows read, decoded and augmented by Ray tasks, beside it or anywhere in the cluster.

Every worker runs a data set of its own, made inside the worker from the step it resumes at, so that its order is the
plan's and nothing before that step is read. The train worker only receives finished batches of bytes, or of half-precision features.
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
    manifest: Source,
    augment: Augment,
    *,
    rank: int,
    world_size: int,
    first_step: int,
    readers: Readers,
    stream: Stream = DEFAULTS,
) -> Iterator[Batch]:
    """A worker's batches from `first_step` to the end of the run, a step each, in order; see `read_window`.

    Args:
        readers: windows read at a time, and ahead of the one that training is at, and where. The tasks ask Ray for
            no CPU: the CPUs of a node that are free are shared out among all data sets in whole numbers, rounded
            down, so that with fewer of them than workers every data set would get none and read only what is waited
            for.
    """
    geometry = plan.geometry
    if first_step >= plan.total_steps:
        return
    rows = min(worker_patches(geometry, geometry.steps - 1, world_size))  # of a worker, in the smallest step
    least = step_bytes(manifest, augment, on_device=stream.augment_on == "device", rows=rows)
    block_bytes = max(1 << 20, least)  # the trainer gets a window's first step before its last is decoded
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = block_bytes
    pace = start_pace(first_step)
    # A step is whole once the block that holds the first row of the next is there, and Ray Data gives a block once it
    # holds the prefetched ones: with less lead, reading and training would wait for each other.
    block_steps = 2 * block_bytes // least + 1  # Ray Data fills a block beyond its size, by half at most
    lead = readers.count * geometry.window + (PREFETCH + 2) * block_steps
    shards = worker_shards(geometry.shards, rank, world_size)
    windows = _Windows(plan, manifest, augment, stream, shards, first_step, lead, pace)
    data = read_calls(windows.read, windows.count, num_cpus=0, concurrency=readers.count, node=readers.node)
    # A split of one: its executor is an actor of its own, where in this process it would fight for the interpreter's
    # lock with a training step of many small operations.
    (split,) = data.streaming_split(1, equal=False)
    blocks: Iterable[Batch] = split.iter_batches(  # type: ignore[assignment]  # what `numpy` gives
        batch_size=None,  # type: ignore[arg-type]  # a block, as its documentation has it
        batch_format="numpy",
        prefetch_batches=PREFETCH,
    )
    for step, batch in enumerate(by_step(blocks), start=first_step):
        pace.reach.remote(step)
        yield batch


def by_step(blocks: Iterable[Batch]) -> Iterator[Batch]:
    """Cut and join blocks of rows, in order of their `step`, into one batch a step."""
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
    if images is not None and images.dtype == object:  # its block held a step of another patch size too
        batch = {**batch, "images": np.stack(list(images))}
    return batch


@dataclass(frozen=True)
class _Windows:
    """The windows of a worker from `first_step` to the end, counted from 0."""

    plan: Plan
    manifest: Source
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
        """Which window of the run holds `first_step`."""
        geometry = self.plan.geometry
        epoch, step = divmod(self.first_step, geometry.steps)
        return epoch * geometry.windows + step // geometry.window

    def read(self, number: int) -> Iterator[Batch]:
        """The batches of a window, once training is within `lead` steps of it."""
        geometry = self.plan.geometry
        epoch, window = divmod(self._first + number, geometry.windows)
        begins = epoch * geometry.steps + geometry.window_steps(window).start
        ray.get(self.pace.until.remote(begins - self.lead))
        yield from read_window(
            self.plan,
            self.manifest,
            self.augment,
            epoch=epoch,
            window=window,
            shards=self.shards,
            first_step=self.first_step,
            stream=self.stream,
        )

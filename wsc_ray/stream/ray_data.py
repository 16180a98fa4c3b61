"""The Ray Data glue: a worker's windows read, decoded and augmented by Ray tasks anywhere in the cluster.

Every worker runs a data set of its own, made inside the worker from the step it resumes at, so that its order is the
plan's and nothing before that step is read. The train worker only receives finished uint8 batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import ray.data

from wsc_ray.manifest import Manifest
from wsc_ray.recipe import Augment
from wsc_ray.stream.order import worker_shards
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.ray_source import Batch, read_calls
from wsc_ray.stream.read import read_window


def worker_batches(
    plan: Plan, manifest: Manifest, augment: Augment, *, rank: int, world_size: int, first_step: int, cpus: float
) -> Iterator[Batch]:
    """A worker's batches from `first_step` to the end of the run, a step each, in order.

    Args:
        cpus: the worker's share of the CPUs left for reading. A read task that waits for its batches to be taken keeps
            its CPU; with shares, a worker cannot hold the CPUs that another needs for the step both are at.
    """
    geometry = plan.geometry
    rows = geometry.batch_size // world_size
    first_window = first_step // geometry.steps * geometry.windows + first_step % geometry.steps // geometry.window
    windows = plan.epochs * geometry.windows - first_window
    if windows <= 0:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(cpu=cpus)
    context.enable_progress_bars = False
    # A block a step or so: the trainer gets a window's first step before its last is decoded.
    context.target_max_block_size = max(1 << 20, rows * 2 * augment.size**2 * 3)
    shards = worker_shards(geometry.shards, rank, world_size)
    read = partial(_read, plan, manifest, augment, shards, first_window, first_step)
    data = read_calls(read, windows, num_cpus=min(1.0, cpus))
    # A split of one: its executor is an actor of its own, where in this process it would fight for the interpreter's
    # lock with a training step of many small operations.
    (split,) = data.streaming_split(1, equal=False)
    yield from split.iter_batches(batch_size=rows, batch_format="numpy", prefetch_batches=2)


def _read(
    plan: Plan, manifest: Manifest, augment: Augment, shards: range, first_window: int, first_step: int, number: int
) -> Iterator[Batch]:
    epoch, window = divmod(first_window + number, plan.geometry.windows)
    return read_window(plan, manifest, augment, epoch=epoch, window=window, shards=shards, first_step=first_step)

"""Our pipeline from end to end: Ray tasks read patches, and a process receives them as a training worker would."""

from __future__ import annotations

import time
from collections.abc import Sequence

import ray

from benchmarks.data.cost import Meter, Sample
from wsc_ray.manifest import Manifest
from wsc_ray.recipe.sections import Augment, Stream
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.ray_data import worker_batches
from wsc_ray.stream.read import DEFAULTS
from wsc_ray.stream.readers import Readers


def stream_plan(
    plan: Plan,
    manifest: Manifest,
    augment: Augment,
    *,
    readers: int,
    counted: range,
    root: int,
    without: Sequence[int],
    stream: Stream = DEFAULTS,
) -> tuple[Sample, float]:
    """Receive a whole plan as fast as it comes, in a process of its own as a training worker has one.

    The plan ends in time for the next contender, so that nothing is read while others are measured.

    Args:
        readers: windows read at a time.
        counted: the steps that count. What is read ahead before the first of them is made up for only where as much
            follows the last: reading must go on for longer than it reads ahead.
        root, without: the process that started Ray, and those below it whose work is not Ray's; see `Meter`.
        stream: where views are made.

    Returns:
        The cost of the steps that count, and seconds from the call to the first batch.
    """
    arguments = (plan, manifest, augment, readers, counted, root, tuple(without), stream)
    # No CPU: Ray's share out among readers; the trainer's cores are the readers'.
    return ray.get(ray.remote(_receive).options(num_cpus=0).remote(*arguments))


def _receive(
    plan: Plan,
    manifest: Manifest,
    augment: Augment,
    readers: int,
    counted: range,
    root: int,
    without: Sequence[int],
    stream: Stream,
) -> tuple[Sample, float]:
    meter, patches, first_batch, sample = Meter(root, without), 0, 0.0, None
    asked = time.perf_counter()
    place = {"rank": 0, "world_size": 1, "first_step": 0}
    batches = worker_batches(plan, manifest, augment, **place, readers=Readers(readers), stream=stream)
    for done, batch in enumerate(batches, start=1):
        if done == 1:
            first_batch = time.perf_counter() - asked
        if done - 1 in counted:
            patches += len(batch["step"])
        if done == counted.start:
            meter.start()
        if done == counted.stop:
            sample = meter.stop(patches)
    assert sample is not None
    return sample, first_batch

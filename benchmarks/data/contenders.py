"""The measured contenders, each in processes of its own: the reference's loader, decoding alone, and our pipeline without Ray.

A `Team` calls each `prepare_...`, which returns a function that does one round. Our pipeline with Ray is in `ray_stream`.
"""

from __future__ import annotations

from itertools import cycle, islice

import torch

from benchmarks.data.cost import Meter
from benchmarks.data.images import encoded_images
from benchmarks.data.reference import TwoViews
from benchmarks.data.team import Round
from wsc_ray.manifest import Manifest
from wsc_ray.pixels import decode
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.read import read_window

REFERENCE = "torch DataLoader, PIL, torchvision"
RAY = "wsc-ray, through Ray"
ALONE = "wsc-ray, outside Ray"
DECODING = "decoding alone"
NAMES = (REFERENCE, RAY, ALONE, DECODING)


def prepare_reference(
    rank: int, uri: str, split: str, distinct: int, augment: Augment, batch_size: int, cores: int, batches: int
) -> Round:
    """A DataLoader with a worker process a core over `distinct` images in memory, for one process.

    An epoch ends with the round, so that no worker goes on while others are measured. Its first batch of each worker
    is left out.
    """
    torch.set_num_threads(1)
    data = TwoViews(encoded_images(uri, split, distinct), augment)
    samples = torch.utils.data.RandomSampler(data, replacement=True, num_samples=(1 + batches) * cores * batch_size)
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=batch_size,
        sampler=samples,
        num_workers=cores,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )

    def do_round():
        source, meter = iter(loader), Meter()
        for _ in range(cores):
            next(source)
        meter.start()
        patches = sum(len(first) for first, _ in source)
        return meter.stop(patches)

    return do_round


def prepare_decoding(rank: int, uri: str, split: str, distinct: int, count: int) -> Round:
    """Decoding `count` images as the stream does, one after the other, the `distinct` ones in memory again and again."""
    encoded = encoded_images(uri, split, distinct)

    def do_round():
        meter = Meter()
        meter.start()
        for data in islice(cycle(encoded), count):
            decode(data)
        return meter.stop(count)

    return do_round


def prepare_windows(rank: int, plan: Plan, manifest: Manifest, augment: Augment, members: int, waves: int) -> Round:
    """`read_window` of every `members`-th window of the plan, as one of as many Ray tasks would call it."""
    shards = range(plan.geometry.shards)

    def do_round():
        meter, patches = Meter(), 0
        meter.start()
        for window in range(rank, members * waves, members):
            for batch in read_window(plan, manifest, augment, epoch=0, window=window, shards=shards):
                patches += len(batch["step"])
        return meter.stop(patches)

    return do_round

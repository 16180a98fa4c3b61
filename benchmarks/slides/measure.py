"""Measuring all contenders in rounds, in rotated order on the same cores, and the mixing of their batches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.data.cost import Sample
from benchmarks.data.ray_stream import stream_plan
from benchmarks.data.team import Team
from benchmarks.slides import wsistream
from benchmarks.slides.manifests import Manifests
from benchmarks.slides.ours import slides_of_steps, stream_recipe
from benchmarks.slides.sizes import Sizes
from wsc_ray.bench.rounds import rotations
from wsc_ray.manifest import open_manifest
from wsc_ray.stream.mixing import mixing_of
from wsc_ray.stream.plan import make_plan

LINKED = "wsc-ray, rows that point into slides"
LOSSLESS = "wsc-ray, lossless patches"
JPEG = "wsc-ray, JPEG patches"
OURS = (LINKED, LOSSLESS, JPEG)
WSISTREAM = "wsistream"
VISITS = {WSISTREAM: 1, f"{WSISTREAM}, 16 patches a visit": 16}  # its default, and what it recommends for throughput


class Turn(NamedTuple):
    """A contender with so many processes that read."""

    name: str
    workers: int


def turns_of(workers: Sequence[int]) -> list[Turn]:
    """Everybody who has a turn in each round, fewest workers first."""
    names = [*OURS, *(VISITS if wsistream.installed() else ())]
    return [Turn(name, count) for count in workers for name in names]


def measure_rounds(
    manifests: Manifests,
    slides: Sequence[Path],
    sizes: Sizes,
    batch_size: int,
    workers: Sequence[int],
    rounds: int,
    progress: Callable[[Turn], None],
) -> dict[Turn, list[Sample]]:
    """Samples of everybody, one a round, after a round that is left out; Ray must run already.

    In a round of `workers` processes, windows of ours and batches of wsistream count that hold the same number of
    patches.

    Raises:
        CrewError: a process failed, or patches differ.
    """
    folders = dict(zip(OURS, (manifests.linked, manifests.lossless, manifests.jpeg), strict=True))
    turns = turns_of(workers)
    with contextlib.ExitStack() as stack:
        do: dict[Turn, Callable[[], Sample]] = {}
        pids: list[int] = []
        for turn in turns:
            if turn.name in VISITS:
                counted = sizes.waves * turn.workers * sizes.window
                arguments = (slides, sizes.patch, batch_size, turn.workers, VISITS[turn.name], counted)
                team = stack.enter_context(Team(wsistream.prepare_wsistream, 1, *arguments))
                do[turn] = team.round
                pids += team.pids
        for turn in turns:
            if turn.name in folders:
                do[turn] = partial(_through_ray, folders[turn.name], sizes, batch_size, turn.workers, pids)
        samples: dict[Turn, list[Sample]] = {turn: [] for turn in turns}
        for order in rotations(turns, 1 + rounds):
            for turn in order:
                samples[turn].append(do[turn]())
                progress(turn)
    return {turn: found[1:] for turn, found in samples.items()}


def _through_ray(folder: Path, sizes: Sizes, batch_size: int, workers: int, without: Sequence[int]) -> Sample:
    wave = workers * sizes.window  # steps of a window of each reader
    recipe = stream_recipe(folder, sizes, batch_size, (2 + sizes.waves) * wave)
    manifest = open_manifest(str(folder))
    sample, _ = stream_plan(
        make_plan(manifest, recipe),
        manifest,
        recipe.augment,
        readers=workers,
        counted=range(wave, (1 + sizes.waves) * wave),
        root=os.getpid(),
        without=without,
        stream=recipe.stream,
    )
    return sample


def measure_mixing(
    manifests: Manifests, slides: Sequence[Path], sizes: Sizes, batch_size: int, workers: Sequence[int]
) -> dict[Turn, dict[str, float]]:
    """How well the batches of an epoch are mixed, see `wsc_ray.stream.mixing`; ours are the same for any workers, told as 0.

    An epoch of wsistream is as many batches as ours has.
    """
    manifest = open_manifest(str(manifests.linked))
    recipe = stream_recipe(manifests.linked, sizes, batch_size, None)
    steps = slides_of_steps(make_plan(manifest, recipe), manifest)
    found = {Turn("wsc-ray", 0): mixing_of(steps, seed=recipe.seed)}
    for turn in turns_of(workers):
        if turn.name in VISITS:
            batches = wsistream.slides_of_batches(
                slides, sizes.patch, batch_size, turn.workers, VISITS[turn.name], len(steps)
            )
            found[turn] = mixing_of(batches, seed=recipe.seed)
    return found

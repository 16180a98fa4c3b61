"""Measuring all contenders in rounds, in rotated order on the same cores; each round takes one sample of each."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.data.contenders import (
    ALONE,
    DECODING,
    NAMES,
    RAY,
    REFERENCE,
    prepare_decoding,
    prepare_reference,
    prepare_windows,
)
from benchmarks.data.cost import Sample
from benchmarks.data.ray_stream import stream_plan
from benchmarks.data.sizes import Sizes
from benchmarks.data.team import Team
from wsc_ray.bench.rounds import rotations
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.order import MIXED, PURE, window_picks
from wsc_ray.stream.plan import Plan, make_plan

MOST_SHARDS = 64  # the recipe's default
DISTINCT = 4096  # images that the reference and decoding hold in memory, at most


@dataclass(frozen=True)
class Rounds:
    """Samples by contender, one a round; seconds to the first batch through Ray, one a round."""

    samples: dict[str, list[Sample]]
    first_batch: list[float]


def stream_recipe(data: dict[str, Any], sizes: Sizes, batch_size: int, readers: int) -> Recipe:
    """The paper's augmentation, and as many steps as a round of ours through Ray receives."""
    values = {
        "data": data,
        "augment": {"size": sizes.view},
        "stream": {"window": sizes.window, "shards": math.gcd(MOST_SHARDS, batch_size // 2)},
        "train": {
            "batch_size": batch_size,
            "epochs": 1,
            "steps_per_epoch": (2 + sizes.waves) * readers * sizes.window,
        },
    }
    return validate_recipe(values, source="recipe of the benchmark")


def measure_rounds(
    recipe: Recipe, sizes: Sizes, cores: int, rounds: int, progress: Callable[[str], None]
) -> tuple[Rounds, dict[str, float]]:
    """Everybody's samples, after a round that is left out, and facts about what was read; Ray must run already.

    Args:
        progress: told the name of each contender when it has done a round.

    Raises:
        UserError: a manifest that cannot be planned or read.
        CrewError: a process failed otherwise.
    """
    manifest = open_manifest(recipe.data.manifest)
    plan = make_plan(manifest, recipe)
    where = (recipe.data.manifest, recipe.data.train_split, DISTINCT)
    batch_size, augment = recipe.train.batch_size, recipe.augment
    wave = cores * sizes.window  # steps of a window of each reader
    with contextlib.ExitStack() as stack:
        teams = {
            name: stack.enter_context(Team(*team))
            for name, team in {
                REFERENCE: (prepare_reference, 1, *where, augment, batch_size, cores, sizes.batches),
                ALONE: (prepare_windows, cores, plan, manifest, augment, cores, sizes.waves),
                DECODING: (prepare_decoding, cores, *where, sizes.decoded),
            }.items()
        }
        others = [pid for team in teams.values() for pid in team.pids]
        first_batch: list[float] = []

        def through_ray() -> Sample:
            sample, seconds = stream_plan(
                plan,
                manifest,
                augment,
                readers=cores,
                counted=range(wave, (1 + sizes.waves) * wave),
                root=os.getpid(),
                without=others,
            )
            first_batch.append(seconds)
            return sample

        do = {name: team.round for name, team in teams.items()} | {RAY: through_ray}
        samples: dict[str, list[Sample]] = {name: [] for name in NAMES}
        for order in rotations(NAMES, 1 + rounds):
            for name in order:
                samples[name].append(do[name]())
                progress(name)
    return Rounds({name: found[1:] for name, found in samples.items()}, first_batch[1:]), _facts(plan)


def _facts(plan: Plan) -> dict[str, float]:
    """Of the order: rows that the first window's row groups hold for each patch that it takes."""
    geometry, rows, taken = plan.geometry, 0, 0
    for kind in (PURE, MIXED):
        picks = np.concatenate(window_picks(geometry, plan.orders[kind], kind, 0, 0, range(geometry.shards)))
        rows += int(plan.groups[kind].rows[np.unique(picks[:, 0])].sum())
        taken += len(picks)
    return {
        "patches": plan.patches(PURE) + plan.patches(MIXED),
        "row_groups": len(plan.groups[PURE]) + len(plan.groups[MIXED]),
        "rows_read_per_patch": rows / taken,
    }

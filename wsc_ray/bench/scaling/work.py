"""What is measured: pretraining as users run it, or workers that only receive what training would."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wsc_ray.bench.scaling.figures import Row, Setting
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.pretrain.clock import Clock, read_steps
from wsc_ray.pretrain.ray_train import cluster_cpus
from wsc_ray.pretrain.run import pretrain_encoder
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.plan import Plan, make_plan
from wsc_ray.stream.ray_data import worker_batches
from wsc_ray.stream.readers import readers_for


def train(recipe: Recipe, folder: Path) -> list[dict[str, float]]:
    """Pretrain in `folder`, which is taken away, and return every worker's steps."""
    shutil.rmtree(folder, ignore_errors=True)
    pretrain_encoder(recipe=recipe, out=folder)
    rows = read_steps(folder)
    shutil.rmtree(folder)
    return rows


def receive(recipe: Recipe, setting: Setting, seconds: float) -> list[Row]:
    """Every worker takes its batches, each for `seconds`, all at the same time; their steps."""
    manifest = open_manifest(recipe.data.manifest)
    plan = make_plan(manifest, recipe)
    nodes = sorted(node for node, cpus in cluster_cpus().items() if cpus)
    places = [nodes[rank % len(nodes)] for rank in range(setting.workers)]
    calls = []
    for rank, node in enumerate(places):
        # A worker a node, as training has them; no CPU, so that readers have it.
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(_receive).options(num_cpus=0, scheduling_strategy=place)
        calls.append(task.remote(plan, manifest, recipe, rank, places, seconds))
    return [row for rows in ray.get(calls) for row in rows]


def _receive(
    plan: Plan, manifest: Manifest, recipe: Recipe, rank: int, places: Sequence[str], seconds: float
) -> list[dict[str, Any]]:
    clock = Clock(on=True)
    readers = readers_for(rank, places, cluster_cpus(), recipe.train.cpus_per_worker)
    arguments = {"rank": rank, "world_size": len(places), "first_step": 0, "readers": readers, "stream": recipe.stream}
    batches = worker_batches(plan, manifest, recipe.augment, **arguments)
    for step in range(plan.total_steps):
        with clock.phase("wait"):
            batch = next(batches)
        with clock.phase("encode"):
            time.sleep(seconds)
        clock.step_ended(step, len(batch["step"]))
    return [{"rank": rank, **row} for row in clock.rows]

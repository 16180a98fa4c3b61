"""The measured work: pretraining as users run it, or workers that only receive the batches of a training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wsc_ray.bench.scaling.figures import Row
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.pretrain.clock import Clock, read_steps
from wsc_ray.pretrain.ray_resources import cluster_cpus
from wsc_ray.pretrain.run import pretrain_encoder
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.plan import Plan, make_plan
from wsc_ray.stream.ray_data import worker_batches
from wsc_ray.stream.readers import readers_for


def train(recipe: Recipe, folder: Path) -> Sequence[Row]:
    """Pretrain in the new run folder `folder`; return a row for each worker and step."""
    pretrain_encoder(recipe=recipe, out=folder)
    return read_steps(folder)


def receive(recipe: Recipe, workers: int, seconds: float) -> list[Row]:
    """Let workers receive their batches in parallel and wait `seconds` for each; return a row for each worker and step."""
    assert recipe.data.manifest is not None  # see `recipe_of`
    manifest = open_manifest(recipe.data.manifest)
    plan = make_plan(manifest, recipe)
    nodes = sorted(node for node, cpus in cluster_cpus().items() if cpus)
    places = [nodes[rank % len(nodes)] for rank in range(workers)]
    calls = []
    for rank, node in enumerate(places):
        # Workers are spread over the nodes, as in training, and reserve no CPU, so that readers can use all of them.
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(_receive).options(num_cpus=0, scheduling_strategy=place)
        calls.append(task.remote(plan, manifest, recipe, rank, places, seconds))
    return [row for rows in ray.get(calls) for row in rows]


def _receive(
    plan: Plan, manifest: Manifest, recipe: Recipe, rank: int, places: Sequence[str], seconds: float
) -> list[Row]:
    clock = Clock(on=True)
    readers = readers_for(rank, places, cluster_cpus(), recipe.train.cpus_per_worker)
    batches = worker_batches(
        plan,
        manifest,
        recipe.augment,
        rank=rank,
        world_size=len(places),
        first_step=0,
        readers=readers,
        stream=recipe.stream,
    )
    for step in range(plan.total_steps):
        with clock.phase("wait"):
            batch = next(batches)
        with clock.phase("encode"):
            time.sleep(seconds)
        clock.step_ended(step, len(batch["step"]))
    return [{"rank": rank, **row} for row in clock.rows]

"""The oracle of what training is fed: what one process without Ray would feed to the model."""

from __future__ import annotations

from pathlib import Path

from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.read import read_window
from wsc_ray.stream.record import Recorder, samples_digest
from wsc_ray.stream.source import open_source


def digest_of_one_process(recipe: Recipe, folder: Path) -> str:
    """The digest of a run's samples, as `samples_sha256` of its summary.

    Args:
        folder: a new one, for the record.
    """
    source = open_source(recipe.data)
    plan, recorder = make_plan(source, recipe), Recorder()
    shards = range(plan.geometry.shards)
    for epoch in range(plan.epochs):
        for window in range(plan.geometry.windows):
            for batch in read_window(plan, source, recipe.augment, epoch=epoch, window=window, shards=shards):
                recorder.add(batch)
    folder.mkdir(parents=True)
    recorder.save(folder, 0)
    return samples_digest(folder)

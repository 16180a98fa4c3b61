"""Training on pseudo-slides with the package's own loop, sample order and losses, without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from benchmarks.evidence.pool import Slides
from benchmarks.evidence.setting import SHARDS
from wsc_ray.encoders import PatchEncoder, PixelStatistics
from wsc_ray.pretrain.loop import Loop, Metrics, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.class_order import whole_groups
from wsc_ray.stream.order import MIXED, PURE, Geometry, window_picks


def geometry_of(recipe: Recipe) -> Geometry:
    """Return the sample order's geometry of a recipe of one epoch."""
    steps = recipe.train.steps_per_epoch
    assert steps is not None  # `Setting.recipe` gives it
    return Geometry(
        seed=recipe.seed,
        sampling="epoch",
        batch_size=recipe.train.batch_size,
        shards=SHARDS,
        steps=steps,
        window=min(16, steps),
    )


def half_batches(slides: Slides, geometry: Geometry) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every step with its patches as rows of the pool, as the stream does: one half of them pure, then one half mixed."""
    halves = [slides.rows[~slides.positive], slides.rows[slides.positive]]
    orders = [whole_groups([slides.rows.shape[1]] * len(half)) for half in halves]
    for window in range(geometry.windows):
        picks = [window_picks(geometry, orders[kind], kind, 0, window, range(SHARDS)) for kind in (PURE, MIXED)]
        for number, step in enumerate(geometry.window_steps(window)):
            yield step, np.concatenate([halves[kind][tuple(picks[kind][number].T)] for kind in (PURE, MIXED)])


def train(
    model: PatchEncoder,
    recipe: Recipe,
    geometry: Geometry,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    precision: str,
    statistics: PixelStatistics | None,
) -> Metrics:
    """Train a model on every batch, and return the metrics of the last step.

    Args:
        precision: precision of the forward pass, `fp32` or `bf16`.
        statistics: as in `Loop`.
    """
    logged: list[Metrics] = []
    loop = Loop(
        model=model,
        optimizer=make_optimizer(model, recipe),
        objective=make_objective(recipe.loss, pure=1),
        recipe=recipe,
        geometry=geometry,
        device=torch.device("cpu"),
        precision=precision,
        on_log=lambda step, metrics: logged.append({"step": step, **metrics}),
        on_checkpoint=lambda step, metrics: None,
        statistics=statistics,
    )
    loop.run(batches, 0)
    return logged[-1]

"""Our stream of images without augmentation, and the slides of its batches."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from benchmarks.slides.sizes import Sizes
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.order import MIXED, PURE, window_picks
from wsc_ray.stream.plan import Plan, make_plan
from wsc_ray.stream.read import read_window

MOST_SHARDS = 64  # the recipe's default


def stream_recipe(manifest: Path, sizes: Sizes, batch_size: int, steps: int | None) -> Recipe:
    """A recipe whose batches hold decoded patches, which the model's device would augment.

    Args:
        steps: of an epoch; None: every patch once.
    """
    values = {
        "data": {"manifest": str(manifest)},
        "augment": {"size": sizes.patch},
        "stream": {
            "window": sizes.window,
            "shards": math.gcd(MOST_SHARDS, batch_size // 2),
            "augment_on": "device",
            "sampling": "epoch",
        },
        "train": {"batch_size": batch_size, "epochs": 1, "steps_per_epoch": steps},
    }
    return validate_recipe(values, source="recipe of the benchmark")


def slides_of_steps(plan: Plan, manifest: Manifest) -> list[np.ndarray]:
    """For each step of an epoch the slide of each patch, (n,) int64."""
    numbers: dict[str, int] = {}
    slides = {
        (kind, number): np.array(
            [
                numbers.setdefault(slide, len(numbers))
                for slide in manifest.read_group(group.file, group.row_group, ["slide_id"])["slide_id"]
                .slice(group.start, group.rows)
                .to_pylist()
            ]
        )
        for kind in (PURE, MIXED)
        for number, group in enumerate(plan.groups[kind])
    }
    geometry = plan.geometry
    steps = []
    for window in range(geometry.windows):
        kinds = [
            window_picks(geometry, plan.orders[kind], kind, 0, window, range(geometry.shards)) for kind in (PURE, MIXED)
        ]
        steps += [
            np.array([slides[kind, group][row] for kind, picks in enumerate(pair) for group, row in picks.tolist()])
            for pair in zip(*kinds, strict=True)
        ]
    return steps


def check_same(manifests: list[Path], sizes: Sizes, batch_size: int) -> int:
    """Read the patches of an eighth of the shards in a window from each manifest, and compare everything that a batch holds.

    Returns:
        The number of patches that were compared.

    Raises:
        AssertionError: a batch is not the same.
    """
    recipes = [stream_recipe(path, sizes, batch_size, None) for path in manifests]
    opened = [open_manifest(str(path)) for path in manifests]
    windows = [
        list(
            read_window(
                make_plan(manifest, recipe),
                manifest,
                recipe.augment,
                epoch=0,
                window=0,
                shards=range(-(-recipe.stream.shards // 8)),
                stream=recipe.stream,
            )
        )
        for manifest, recipe in zip(opened, recipes, strict=True)
    ]
    for first, *others in zip(*windows, strict=True):
        for other in others:
            for name, values in first.items():
                np.testing.assert_array_equal(other[name], values, err_msg=name)
    return sum(len(batch["step"]) for batch in windows[0])

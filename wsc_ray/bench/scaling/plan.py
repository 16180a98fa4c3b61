"""The settings to measure, and their recipes, as pure functions of the options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsc_ray.bench.scaling.figures import Figures, Setting
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe, Stream

COMMAND = "bench scaling"
WINDOW = 4  # steps that are shuffled together: with fewer, less is read ahead
READ_AHEAD = 16  # steps after the measured ones, so that reading goes on during these


def settings_of(works: Sequence[str], count: int, fewest: int, batch_size: int) -> list[Setting]:
    """Return each work with `count` workers, weak and strong; with the `fewest` workers these are the same, and measured once.

    Args:
        batch_size: patches per worker; in strong scaling, patches per worker of the smallest number of workers.
    """
    modes = {"weak": count * batch_size} | ({"strong": fewest * batch_size} if count > fewest else {})
    return [Setting(mode, work, count, batch) for work in works for mode, batch in modes.items()]


def with_strong_base(measured: Sequence[Figures]) -> list[Figures]:
    """Return the measured figures, with those of the smallest number of workers a second time, as the base of strong scaling."""
    fewest = min(one.setting.workers for one in measured)
    same = [
        replace(one, setting=replace(one.setting, mode="strong")) for one in measured if one.setting.workers == fewest
    ]
    works = {one.setting.work for one in measured if one.setting.mode == "strong"}
    return [*measured, *(one for one in same if one.setting.work in works)]


def recipe_of(settings: dict[str, Any], setting: Setting, data: str, folder: Path) -> Recipe:
    """Return the recipe of a setting, on the manifest `data`, with an MLflow store in `folder`."""
    total = settings["warm_up"] + settings["steps"] + READ_AHEAD
    values = {
        "data": {"manifest": data},
        "encoder": {"backbone": settings["backbone"], "weights": "random"},
        "loss": {"similarity_weight": 0.01, "similarity_warmup": total},
        "augment": {"size": settings["crop"]},
        "stream": {"window": WINDOW, "shards": shards_of(setting)},
        "train": {
            "epochs": 1,
            "steps_per_epoch": total,
            "batch_size": setting.batch_size,
            "workers": setting.workers,
            "cpus_per_worker": settings["cpus_per_worker"],
            "lr": 0.001,
            "warmup_epochs": 0,
            "log_every": total,
            "max_failures": 0,
            "profile": True,
        },
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": COMMAND},
    }
    return validate_recipe(values, source="recipe of the benchmark")


def shards_of(setting: Setting) -> int:
    """Return the number of shards of a setting's recipe: a divisor of the default that also divides half of the global batch."""
    return math.gcd(Stream().shards, setting.batch_size // 2)

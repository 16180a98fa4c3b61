"""What is measured: settings and their recipes, from the options alone."""

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
WINDOW = 4  # steps shuffled together: the fewer, the less is read ahead
READ_AHEAD = 16  # steps that follow those that count, so that reading goes on while these are trained


def settings_of(works: Sequence[str], count: int, fewest: int, batch_size: int) -> list[Setting]:
    """Each work with `count` workers, weak and strong; with the `fewest` these are the same, and measured once.

    Args:
        batch_size: patches of each worker, in strong scaling of each of the fewest.
    """
    modes = {"weak": count * batch_size} | ({"strong": fewest * batch_size} if count > fewest else {})
    return [Setting(mode, work, count, batch) for work in works for mode, batch in modes.items()]


def with_strong_base(found: Sequence[Figures]) -> list[Figures]:
    """What was measured, and that with the fewest workers a second time, as the base of strong scaling."""
    fewest = min(one.setting.workers for one in found)
    same = [replace(one, setting=replace(one.setting, mode="strong")) for one in found if one.setting.workers == fewest]
    works = {one.setting.work for one in found if one.setting.mode == "strong"}
    return [*found, *(one for one in same if one.setting.work in works)]


def recipe_of(settings: dict[str, Any], setting: Setting, data: str, folder: Path) -> Recipe:
    """What is trained for a setting, on the manifest `data`; `folder` takes its MLflow store."""
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
    """Shards of the setting's recipe: a divisor of the recipe's default that also divides half of the global batch."""
    return math.gcd(Stream().shards, setting.batch_size // 2)

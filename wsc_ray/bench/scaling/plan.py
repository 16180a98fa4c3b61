"""What is measured and what it should send: settings, recipes and promises, from the options alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsc_ray.bench.scaling.figures import Figures, Setting, promised_bytes
from wsc_ray.bench.scaling.project import Step
from wsc_ray.encoders import build_encoder
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Encoder, Recipe, Stream
from wsc_ray.stream.order import Geometry, worker_patches

COMMAND = "bench scaling"
WINDOW = 4  # steps shuffled together: the fewer, the less is read ahead
FEATURE_BYTES = 4  # of a number: the encoder normalises in float32
READ_AHEAD = 16  # steps that follow those that count, so that reading goes on while these are trained


def settings_of(works: Sequence[str], count: int, fewest: int, batch_size: int) -> list[Setting]:
    """Weak and strong; with the fewest workers they are the same, and measured once."""
    modes = {"weak": count * batch_size} | ({"strong": fewest * batch_size} if count > fewest else {})
    return [Setting(mode, work, count, batch) for work in works for mode, batch in modes.items()]


def with_strong_base(found: Sequence[Figures]) -> list[Figures]:
    """The same, and what was measured with the fewest workers once more as the base of strong scaling."""
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
        "stream": {"window": WINDOW, "shards": _shards(setting)},
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


def _shards(setting: Setting) -> int:
    return math.gcd(Stream().shards, setting.batch_size // 2)


def promise(settings: dict[str, Any], setting: Setting) -> tuple[int, int]:
    """Bytes of the loss and of the gradients, see `figures.promised_bytes`."""
    if setting.workers == 1:
        return 0, 0
    encoder = Encoder()
    model = build_encoder(
        settings["backbone"], size=settings["crop"], head_hidden=encoder.head_hidden, head_dim=encoder.head_dim
    )
    gradient = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    order = Geometry(
        seed=0, sampling="replacement", batch_size=setting.batch_size, shards=_shards(setting), steps=1, window=1
    )
    mixed = max(worker_patches(order, 0, setting.workers)) // 2
    return promised_bytes(mixed, encoder.head_dim, FEATURE_BYTES, setting.workers), gradient


def projected_step(found: Sequence[Figures], settings: dict[str, Any]) -> Step:
    """The step that a projection starts from: of training with the fewest workers."""
    trained = [one for one in found if one.setting.work == "training" and one.setting.mode == "weak"]
    base = min(trained, key=lambda one: one.setting.workers)
    _, gradient = promise(settings, Setting("weak", "training", 2, 2 * settings["batch_size"]))
    mixed, dim = settings["batch_size"] // 2, Encoder().head_dim
    return Step(
        patches=settings["batch_size"],
        encode=base.seconds["encode"],
        loss=base.seconds["loss"],
        optimizer=base.seconds["optimizer"],
        gathered=16 + 2 * mixed * (dim * FEATURE_BYTES + 4),
        reduced=4 * (dim + 1),
        gradient=gradient,
        measured=base.setting.workers,
    )

"""Pretraining with a model that is the bottleneck, and the time that it waited for data."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.data.sizes import Sizes
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.run import pretrain_encoder
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder


def measure_training(folder: Path, data: Mapping[str, Any], sizes: Sizes, cores: int) -> dict[str, float]:
    """Pretrain for some steps with one worker on half of the cores, CPU only, and see `waiting`.

    Args:
        folder: for the run, taken away afterwards.
        data: the recipe's section of that name.
    """
    folder = folder / "training"
    run = RunFolder(folder / "run")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pretrain_encoder(recipe=training_recipe(folder, data, sizes, cores), out=run.path)
    found = waiting(metrics_file.read(run.metrics), sizes.train_batch, sizes.warm_up)
    shutil.rmtree(folder)
    return found


def training_recipe(folder: Path, data: Mapping[str, Any], sizes: Sizes, cores: int) -> Recipe:
    values = {
        "data": dict(data),
        "encoder": {"backbone": sizes.backbone, "weights": "random"},
        "loss": {"similarity_weight": 0.01, "similarity_warmup": sizes.steps},
        "augment": {"size": sizes.crop},
        "stream": {"shards": 4},
        "train": {
            "epochs": 1,
            "steps_per_epoch": sizes.steps,
            "batch_size": sizes.train_batch,
            "device": "cpu",
            "cpus_per_worker": max(1, cores // 2),
            "lr": 0.01,
            "warmup_epochs": 0,
            "log_every": 1,
        },
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": "benchmarks.data"},
    }
    return validate_recipe(values, source="training recipe of the benchmark")


def waiting(lines: Sequence[Mapping[str, float]], batch_size: int, warm_up: int) -> dict[str, float]:
    """What the metrics of a run that logged every step say of the steps after the first `warm_up`.

    Returns:
        `waited`: seconds waited for data / seconds; `waited_median`: the steps' median share; `patches_per_second`;
        `steps`.
    """
    lines = lines[warm_up:]
    seconds = [batch_size / line["patches_per_second"] for line in lines]
    waited = [line["data_wait_fraction"] * took for line, took in zip(lines, seconds, strict=True)]
    return {
        "waited": sum(waited) / sum(seconds),
        "waited_median": statistics.median(line["data_wait_fraction"] for line in lines),
        "patches_per_second": batch_size * len(lines) / sum(seconds),
        "steps": len(lines),
    }

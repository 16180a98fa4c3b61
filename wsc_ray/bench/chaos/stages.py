"""The commands whose processes are killed, one after the other, from a table of patches to metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsc_ray.bench.chaos.processes import CONTROLLER, DRIVER, GCS, NODE, RAYLET, READER, WORKER
from wsc_ray.demo.cohort import write_cohort

RECIPE = "recipe.yaml"
DRAWN = "raw"
LOCAL_RAY = (DRIVER, RAYLET, GCS, WORKER)
WORKERS = 2


@dataclass(frozen=True)
class Stage:
    """A command that runs in a folder of its own.

    Attributes:
        name: the command, such as `manifest import`.
        arguments: its arguments; paths are relative to that folder.
        out: the folder that it writes.
        victims: the roles of its processes that can be killed.
        repeats: whether the command may be repeated after it has completed, and then changes nothing.
    """

    name: str
    arguments: tuple[str, ...]
    out: str
    victims: tuple[str, ...]
    repeats: bool = True

    def line(self) -> list[str]:
        """Return the words after `wsc-ray`."""
        return [*self.name.split(), *self.arguments]


def stages_of(table: Path, slides: Path | None, names: Sequence[str]) -> list[Stage]:
    """Return the named commands in an order in which each finds the results of the ones before.

    Args:
        table: the table of patches, as `write_cohort` writes it.
        slides: a list of slides to tile; None to leave out `tile`.
        names: the commands; empty for all of them.
    """
    importing = (str(table), "--out", "manifest", "--column", "label=slide_label")
    importing += ("--label", "0=negative", "--label", "1=positive")
    every = [
        Stage("manifest import", importing, "manifest", (DRIVER,), repeats=False),
        Stage(
            "pretrain",
            (RECIPE, "--out", "run"),
            "run",
            (*LOCAL_RAY, WORKER, READER, CONTROLLER, NODE),
        ),
        Stage("embed", ("--run", "run"), "run/features", LOCAL_RAY),
        Stage("tune", ("--run", "run"), "run/mil", LOCAL_RAY),
        # Typed again after it has completed, it opens the test slides again, and the ledger says so.
        Stage("evaluate", ("--run", "run"), "run/evaluate", (DRIVER,), repeats=False),
    ]
    if slides is not None:
        every.insert(0, Stage("tile", (str(slides), "--out", "tiled"), "tiled", LOCAL_RAY))
    return [stage for stage in every if not names or stage.name in names]


def known_names() -> list[str]:
    """Return the names of all commands that can be chosen."""
    return [stage.name for stage in stages_of(Path("table"), Path("slides"), ())]


def prepare(folder: Path, *, steps: int, seed: int) -> Path:
    """Write a small synthetic cohort, unless it exists already, and a recipe; return the table of patches.

    Args:
        steps: training steps of the recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / DRAWN / "patches.parquet"
    if not table.exists():
        write_cohort(table.parent, slides=(12, 6, 8), patches_per_slide=12, seed=seed)
    (folder / RECIPE).write_text(yaml.safe_dump(recipe(steps, seed)))
    return table


def recipe(steps: int, seed: int) -> Mapping[str, Any]:
    """Return a recipe that trains a small encoder with a checkpoint every few steps, and survives any number of failures."""
    return {
        "seed": seed,
        "data": {"manifest": "manifest"},
        "encoder": {"backbone": "test_vit", "weights": "random", "head_hidden": 16, "head_dim": 8},
        "loss": {"similarity_weight": 0.1, "similarity_warmup": 4},
        "augment": {"size": 32},
        "stream": {"sampling": "epoch", "shards": 4, "window": 2, "record": True},
        "train": {
            "epochs": 1,
            "steps_per_epoch": steps,
            "batch_size": 16,
            "workers": WORKERS,
            "cpus_per_worker": 0.5,
            "warmup_epochs": 0,
            "lr": 0.001,
            "log_every": 1,
            "checkpoint_every": 5,
            "max_failures": 1000,
            "device": "cpu",
        },
        "tune": {"trials": 6, "epochs": 5},
        "evaluate": {"bootstrap": 100},
        "tracking": {"uri": "sqlite:///mlflow.db"},
    }

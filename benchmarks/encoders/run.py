"""The comparison, as a user would type it: import, embed, two adapters, a nested search of each encoder's head, one comparison.

The encoders see the labels of training slides only. Heads are searched and measured on the other slides, in folds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.command_line import claim
from benchmarks.encoders.page import page, table_of
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.commands import cohort_folds, embed, evaluate, manifest_import, pretrain, tune
from wsc_ray.errors import DataError, WeightsError
from wsc_ray.files import atomic, read_summary, write_summary
from wsc_ray.places import local_path
from wsc_ray.ray_session import ray_session
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe

PROGRAM = "python -m benchmarks.encoders"
BACKBONE = "tf_efficientnet_lite0"
IMAGENET, UNTRAINED = "imagenet", "untrained"
METHODS = ("weaksupcon", "simclr")
ENCODERS = (*METHODS, IMAGENET, UNTRAINED)
HEADS = ["mean", "abmil", "dtfd", "clam-sb"]
PIXELS, VIEWS, FOLDS = 64, 4, 5


def compare_encoders(*, patches: str, weights: str, out: str, quick: bool, markdown: str | None) -> dict[str, Any]:
    """Embed, adapt, search and compare; what `out` has already is not done again.

    Args:
        patches: a Parquet table of patches with the columns `slide_id`, `patient_id`, `slide_label`, `split` and `image`.
        weights: folder with ImageNet weights of tf_efficientnet_lite0.
        out: a new folder, or one that holds the same comparison.
        quick: whether to take a few steps and trials only.
        markdown: file for the whole page.

    Raises:
        RunFolderError: the folder holds another comparison.
        UserError: patches or weights cannot be used.
    """
    file = require_file(markdown) if markdown else None
    folder = local_path(out)
    _require(local_path(patches), local_path(weights))
    options = {"patches": str(local_path(patches)), "weights": str(local_path(weights)), "quick": quick}
    claim(folder, "a comparison", options)
    recipe = recipe_of(folder, quick)
    with ray_session():
        _cohort(local_path(patches), folder)
        features = _features(folder, local_path(weights), quick)
        for name in ENCODERS:
            tune(features=features[name], out=folder / name / "mil", recipe=recipe)
            evaluate(features=features[name], head=folder / name / "mil", out=folder / name / "evaluate", recipe=recipe)
    compared = evaluate(
        results=[folder / name / "evaluate" for name in ENCODERS],
        compare=True,
        out=folder / "differences",
        recipe=recipe,
    )
    given = {"patches": patches, "weights": weights, "out": out, "quick": quick}
    summary = write_summary(
        folder,
        PROGRAM,
        {
            "encoders": list(ENCODERS),
            "recipe": recipe.model_dump(mode="json"),
            "folds": FOLDS,
            "pixels": PIXELS,
            "views": VIEWS,
            "results": {name: read_summary(folder / name / "evaluate") for name in ENCODERS},
            "searches": {name: read_summary(folder / name / "mil") for name in ENCODERS},
            "differences": compared["differences"],
            "machine": describe_machine(usable_cores()),
            "versions": versions(["wsc-ray", "ray", "torch", "timm", "optuna"]),
            "commit": commit(),
            "invocation": invocation(PROGRAM, given, markdown),
        },
    )
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary))
    return {**summary, "table": table_of(summary)}


def recipe_of(folder: Path, quick: bool) -> Recipe:
    """Return the recipe of the searches: Optuna over four heads and their settings, in each fold anew."""
    return validate_recipe(
        {
            "data": {"cohort": str(folder / "folds.csv"), "fold": "fold"},
            "tune": {
                "heads": HEADS,
                "trials": 4 if quick else 32,
                "epochs": 2 if quick else 40,
                "grace": 1 if quick else 5,
                "seeds": 1 if quick else 5,
                "search": "tpe",
                "scheduler": "asha",
            },
            "evaluate": {"bootstrap": 100 if quick else 2000},
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "encoders"},
        },
        source="the benchmark's recipe",
    )


def adapter_recipe(folder: Path, method: str, quick: bool) -> Recipe:
    """Return the recipe of an adapter of the ImageNet features; only the method differs."""
    return validate_recipe(
        {
            "data": {"features": str(folder / IMAGENET / "features")},
            "encoder": {"backbone": "mlp", "weights": "random", "mlp_hidden": [512], "mlp_width": 256},
            "loss": {"method": method},
            "stream": {"sampling": "epoch"},
            "train": {
                "epochs": 1,
                "steps_per_epoch": 3 if quick else 600,
                "batch_size": 128 if quick else 512,
                "workers": 1,
                "cpus_per_worker": 0.5,
                "lr": 0.1,
                "warmup_epochs": 0.1,
                "schedule": "cosine",
                "log_every": 20,
                "checkpoint_every": 200,
            },
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "encoders"},
        },
        source=f"the benchmark's recipe of {method}",
    )


def start_recipe(folder: Path, weights: str) -> Recipe:
    """Return the recipe of an encoder that is not trained: with random weights, or with those of a folder."""
    return validate_recipe(
        {
            "data": {"manifest": str(folder / "manifest")},
            "encoder": {"backbone": BACKBONE, "weights": weights},
            "augment": {"size": PIXELS, "vflip": 0.5, "rotate90": True},
            "train": {"epochs": 0},
            "embed": {"size": PIXELS},
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "encoders"},
        },
        source="the benchmark's recipe of an encoder",
    )


def _cohort(patches: Path, folder: Path) -> None:
    """Import the patches, and divide the slides that are not for training into folds."""
    if read_summary(folder / "manifest") is None:
        manifest_import(
            source=patches,
            out=folder / "manifest",
            columns={"label": "slide_label"},
            label_names={"0": "negative", "1": "positive"},
        )
    if not (folder / "folds.csv").exists():
        slides = pq.read_table(
            folder / "manifest" / "slides.parquet", columns=["slide_id", "patient_id", "label", "split"]
        )
        held = slides.filter(pc.not_equal(slides["split"], "train")).drop_columns(["split"])
        with atomic(folder / "held.csv") as temporary:
            pa.csv.write_csv(held, temporary)
        cohort_folds(cohort=folder / "held.csv", out=folder / "folds.csv", folds=FOLDS)


def _features(folder: Path, weights: Path, quick: bool) -> dict[str, Path]:
    """Make the features of every encoder: name -> folder."""
    for name, start in ((IMAGENET, str(weights)), (UNTRAINED, "random")):
        pretrain(recipe=start_recipe(folder, start), out=folder / name)
        embed(run=folder / name, views=(2 if quick else VIEWS) if name == IMAGENET else 0)
    for method in METHODS:
        pretrain(recipe=adapter_recipe(folder, method, quick), out=folder / method)
        embed(run=folder / method)
    return {name: folder / name / "features" for name in ENCODERS}


def _require(patches: Path, weights: Path) -> None:
    """Check that both inputs are there, before a folder is claimed for them.

    Raises:
        DataError, WeightsError: one is not.
    """
    if not patches.is_file():
        raise DataError(f"{patches} is not there; give a Parquet table of patches as --patches")
    if not (weights / "model.safetensors").is_file():
        raise WeightsError(f"{weights} has no model.safetensors; give the folder of the weights as --weights")

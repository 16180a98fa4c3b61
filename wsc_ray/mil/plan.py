"""The plan of a search, and its identity: the values that determine its outcome, which its folder keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsc_ray.mil.fit import Source
from wsc_ray.mil.inputs import Sides
from wsc_ray.mil.task import Task
from wsc_ray.mil.trials import read_trials
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import AnyPath
from wsc_ray.uris import shown


def search_plan(
    recipe: Recipe, features: AnyPath, out: AnyPath, classes: list[str], sides: Sequence[Sides], tasks: Sequence[Task]
) -> dict[str, Any]:
    """Return what a search will do: slides, patients and patches, trials, seeds, and trials that are done already."""
    first = sides[0]
    tables = {"train": first.train, "val": first.val} if first.fold is None else {"all": first.every}
    counts = {
        "slides": {name: sum(n > 0 for n in table["patches"].to_pylist()) for name, table in tables.items()},
        "patients": {name: len(set(table["patient_id"].to_pylist())) for name, table in tables.items()},
        "patches": {name: sum(table["patches"].to_pylist()) for name, table in tables.items()},
    }
    return {
        "features": shown(features),
        "out": shown(out),
        "classes": classes,
        "validation": _validation(recipe, first),
        **(counts if first.fold is None else {key: value["all"] for key, value in counts.items()}),
        **({} if first.fold is None else {"folds": {str(side.fold): side.held_out.num_rows for side in sides}}),
        "slides_without_patches": sum(n == 0 for table in tables.values() for n in table["patches"].to_pylist()),
        "trials": recipe.tune.trials,
        "seeds": recipe.tune.seeds,
        "concurrent": recipe.tune.concurrent,
        "trials_there": sum(len(read_trials(task.out, recipe.tune.trials)) for task in tasks),
    }


def _validation(recipe: Recipe, side: Sides) -> str:
    if side.fold is not None:
        return "patients of the other folds"
    made = not set(side.val["split"].to_pylist()) - {recipe.data.train_split}
    return f"patients of split {recipe.data.train_split}" if made else f"split {recipe.data.val_split}"


def search_identity(
    recipe: Recipe, classes: list[str], sides: Sequence[Sides], bags: Sequence[Source]
) -> dict[str, Any]:
    """Return what determines the outcome of a search; not `concurrent`, which changes its duration only, and not `seeds`."""
    folds = {} if sides[0].fold is None else {"folds": sides[0].folds_digest()}
    short = 32 if len(bags) > 1 else None
    return {
        "seed": recipe.seed,
        "tune": _deciding(recipe),
        "classes": classes,
        "features": "".join(source.digest()[:short] for source in bags),
        **folds,
    }


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of `tune` that determine the outcome."""
    elsewhere = {"concurrent", "seeds", "gpus_per_trial", "cpus_per_trial"}
    values = recipe.tune.model_dump(mode="json", exclude=elsewhere)
    if values["scheduler"] == "none":
        del values["grace"]
    values |= {"threads": max(1, int(recipe.tune.cpus_per_trial)), "gpu": recipe.tune.gpus_per_trial > 0}
    # Defaults of settings that were added later are left out, so that earlier searches keep their identity.
    later = {"heads": ["abmil"], "search": "random", "scheduler": "none", "threads": 1, "gpu": False}
    later |= {"precision": "auto", "features": "memory", "max_instances": None}
    return {key: value for key, value in values.items() if key not in later or value != later[key]}

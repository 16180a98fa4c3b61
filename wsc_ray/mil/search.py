"""`wsc-ray tune`: searching the settings of an MIL head on the training slides, and fitting the best setting with several seeds.

Heads are compared on validation slides: those of the cohort's validation split, or of some training patients. The test split
is not loaded. With `data.fold` there is one search per fold, which sees only the slides of the other folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wsc_ray
from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.features.store import read_slides
from wsc_ray.files import SUMMARY, read_summary
from wsc_ray.mil.bags import load_bags
from wsc_ray.mil.choose import Chosen, choose_head
from wsc_ray.mil.describe import describe_search
from wsc_ray.mil.ensemble import member_folder
from wsc_ray.mil.fit import Source
from wsc_ray.mil.head import CONFIG, HEADS, WEIGHTS, is_head, save_head
from wsc_ray.mil.inputs import Sides, encoder_of, fitting_sides
from wsc_ray.mil.mlflow_registry import lineage_of, register_members
from wsc_ray.mil.plan import search_identity, search_plan
from wsc_ray.mil.stored import find_bags
from wsc_ray.mil.task import Task
from wsc_ray.mil.trials import clear_scratch, head_of_trial, write_table
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

__all__ = ["describe_search", "search_head"]

OTHER = {
    "features": "the training or validation features: of other content",
    "folds": "the folds: of other slides",
}
TABLE = "trials.csv"


def search_head(
    *,
    run: str | Path | None = None,
    features: str | Path | None = None,
    out: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Search the settings of `recipe.tune`, and write the best head and its members to OUT.

    The same call again resumes an interrupted search: it runs the missing trials and fits the missing members, in the same MLflow
    run. A complete search is left as it is (the summary then has `already_complete`), unless `tune.seeds` has grown.

    Args:
        run: the run folder, which gives the defaults of the arguments below.
        features: the feature store (default `RUN/features`).
        out: the output folder (default `RUN/mil`).
        recipe, overrides: the recipe (default `RUN/recipe.yaml`), of which `seed`, `data`, `tune` and `tracking` are used.
        dry_run: check slides and recipe, return the plan, and write nothing.

    Returns:
        The summary, also in `OUT/summary.json`; for a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    folder, recipe = resolve_run(run, recipe, overrides)
    features, out = resolve_paths(
        "tune", features=(features, folder and folder.features), out=(out, folder and folder.mil)
    )
    _require_heads(recipe)
    earlier = claim_folder("tune", out)
    chosen = choose_slides(read_slides(features), recipe.data)
    classes, sides = fitting_sides(chosen.slides, recipe)
    tasks = [Task(recipe.tune, classes, recipe.seed, out, side.fold) for side in sides]
    plan = {**search_plan(recipe, features, out, classes, sides, tasks), "notes": list(chosen.notes)}
    if dry_run:
        return plan
    bags = _load(features, classes, sides, recipe)
    identity = search_identity(recipe, classes, sides, bags)
    if earlier is not None:
        refuse_other(out, "a search", earlier, identity, words=OTHER)
    done = read_summary(out)
    if earlier is not None and done is not None and _complete(out, tasks):
        return {**done, "already_complete": True}

    store = open_store(
        recipe.tracking.uri, recipe.tracking.experiment, out, features, *([folder.path] if folder else [])
    )
    about = {"embed": encoder_of(features), "wsc_ray": wsc_ray.__version__}
    lineage = lineage_of(recipe, features, chosen.slides, identity)

    def work(tracker: Tracker) -> dict[str, Any]:
        (out / SUMMARY).unlink(missing_ok=True)  # the summary of a complete search with fewer seeds
        clear_scratch(out)
        tracker.log_dataset(name=features.name, digest=identity["features"], source=shown(features))
        searches: list[Chosen] = []
        for task, side in zip(tasks, sides, strict=True):
            train, val = _bags_of(bags, side)
            about_side = {"val_slides": list(val.slide_ids), **about}
            searches.append(choose_head(task, train, val, about_side, tracker))
            if task.fold is None:
                _keep_head(task, searches[0], about_side)
        registered = register_members(recipe.tracking.model, tracker, out, classes, lineage)
        write_table(out / TABLE, {task.fold: search.trials for task, search in zip(tasks, searches, strict=True)})
        done = sum(len(search.trials) for search in searches)
        stopped = sum(trial.stopped for search in searches for trial in search.trials)
        counts: dict[str, Any] = {
            "trials_done": done,
            **({"trials_stopped": stopped} if recipe.tune.scheduler == "asha" else {}),
        }
        counts |= {"registered": registered} if registered else {}
        if tasks[0].fold is None:
            for name in (WEIGHTS, CONFIG, TABLE):
                tracker.log_artifact(out / name)
            metrics = {f"val_{key}": value for key, value in searches[0].best.scores.items()}
            tracker.log_results(metrics | {"trials": done})
            return {**counts, **_summary(searches[0])}
        tracker.log_artifact(out / TABLE)
        tracker.log_results({"trials": done})
        return {
            **counts,
            "searches": {str(task.fold): _summary(search) for task, search in zip(tasks, searches, strict=True)},
        }

    params = {"seed": recipe.seed, "tune": recipe.tune.model_dump(mode="json")}
    from wsc_ray.mil.ray_members import require_resources
    from wsc_ray.ray_session import ray_session

    with ray_session():
        require_resources(tasks[0].resources)
        return carry_out("tune", out=out, identity=identity, plan=plan, params=params, store=store, work=work)


def _require_heads(recipe: Recipe) -> None:
    """Check that every head of the recipe is registered.

    Raises:
        RecipeError: a head is not.
    """
    unknown = [name for name in recipe.tune.heads if name not in HEADS]
    if unknown:
        raise RecipeError(
            "recipe",
            [f"`tune.heads`: {HEADS.missing(name)}" for name in unknown],
        )


def _load(features: AnyPath, classes: list[str], sides: Sequence[Sides], recipe: Recipe) -> list[Source]:
    """Return the bags to fit and to validate on, in memory or in their files; with folds, the bags of all slides, once.

    Raises:
        DataError: see `load_bags`; or training and validation features have different widths.
    """
    load = load_bags if recipe.tune.features == "memory" else find_bags
    if sides[0].fold is not None:
        return [load(features, sides[0].every, classes)]
    train, val = (load(features, table, classes) for table in (sides[0].train, sides[0].val))
    if train.width != val.width:
        raise DataError(
            f"features have {train.width} dimensions in training slides and {val.width} in validation slides; use one "
            "encoder"
        )
    return [train, val]


def _bags_of(bags: Sequence[Source], side: Sides) -> tuple[Source, Source]:
    """Return one search's bags to fit and to validate on, from the bags of `_load`."""
    if side.fold is None:
        return bags[0], bags[1]
    place = {slide: index for index, slide in enumerate(bags[0].slide_ids)}
    train, val = (
        bags[0].select([place[slide] for slide in table["slide_id"].to_pylist() if slide in place])
        for table in (side.train, side.val)
    )
    return train, val


def _complete(out: AnyPath, tasks: Sequence[Task]) -> bool:
    """Return whether every member exists undamaged, and without folds the head too."""
    folders = [member_folder(task, number) for task in tasks for number in range(task.tune.seeds)]
    return all(is_head(folder) for folder in [*folders, *([out] if tasks[0].fold is None else [])])


def _keep_head(task: Task, search: Chosen, about: Mapping[str, Any]) -> None:
    """Write the chosen trial's head to the output folder."""
    best = search.best
    head = head_of_trial(task.out, best.number)
    how = {"trial": best.name, "setting": best.described, "val": best.scores}
    save_head(task.out, head, best.setting, task.classes, {**how, **about})


def _summary(search: Chosen) -> dict[str, Any]:
    best = search.best
    return {"best": {"trial": best.name, **best.described}, "val": best.scores, "members": search.members}

"""The command: search the settings of an attention-MIL head on the training slides and leave the best head.

Heads are compared on validation slides: those of the manifest's validation split, or of some training patients. The
test split is not loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

import wsc_ray
from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError, RecipeError, RunFolderError, WeightsError
from wsc_ray.features.store import read_slides
from wsc_ray.files import read_summary
from wsc_ray.mil.bags import Bags, load_bags
from wsc_ray.mil.head import CONFIG, HEADS, WEIGHTS, PackedHead, load_head, save_head, settings_values
from wsc_ray.mil.inputs import encoder_of, fitting_slides
from wsc_ray.mil.space import settings
from wsc_ray.mil.trials import Trial, best_trial, read_trials, trial_folder, write_table
from wsc_ray.progress import Progress
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

OTHER_FEATURES = "the training or validation features: of other content"
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
    """Search `recipe.tune` and leave the best head in OUT.

    The same call again goes on with a search that was interrupted, with the trials that are missing, in the same
    MLflow run; a search that is complete is left as it is (`already_complete` in what is returned).

    Args:
        run: the run folder, from which everything below is taken where it is not given.
        features: a feature store (`RUN/features`).
        out: where the head goes (`RUN/mil`).
        recipe, overrides: of these, `seed`, `data`, `tune` and `tracking` are used (`RUN/recipe.yaml`).
        dry_run: check slides and recipe, return the plan and touch nothing.

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    folder, recipe = resolve_run(run, recipe, overrides)
    features, out = resolve_paths(
        "tune", features=(features, folder and folder.features), out=(out, folder and folder.mil)
    )
    _require_heads(recipe)
    known = claim_folder("tune", out)
    chosen = choose_slides(read_slides(features), recipe.data)
    classes, train_slides, val_slides = fitting_slides(chosen.slides, recipe)
    plan = {**_plan(recipe, features, out, classes, train_slides, val_slides), "notes": list(chosen.notes)}
    if dry_run:
        return plan
    train, val = load_bags(features, train_slides, classes), load_bags(features, val_slides, classes)
    if train.features.shape[1] != val.features.shape[1]:
        raise DataError(
            f"features have {train.features.shape[1]} dimensions in training slides and {val.features.shape[1]} in "
            "validation slides; use one encoder"
        )
    identity = _identity(recipe, classes, train, val)
    if known is not None:
        refuse_other(out, "a search", known, identity, words={"features": OTHER_FEATURES})
    done = read_summary(out)
    if known is not None and done is not None and _is_head(out):
        return {**done, "already_complete": True}

    store = open_store(
        recipe.tracking.uri, recipe.tracking.experiment, out, features, *([folder.path] if folder else [])
    )

    def work(tracker: Tracker) -> dict[str, Any]:
        tracker.log_dataset(name=features.name, digest=identity["features"], source=shown(features))
        trials = _run_missing(recipe, classes, train, val, out, tracker)
        best = best_trial(trials)
        head = _head_of(out, best)
        how = {"trial": best.name, "setting": best.described, "val": best.scores}
        save_head(
            out, head, best.setting, classes, {**how, "embed": encoder_of(features), "wsc_ray": wsc_ray.__version__}
        )
        write_table(out / TABLE, trials, best)
        tracker.log_metrics({f"val_{key}": value for key, value in best.scores.items()} | {"trials": len(trials)})
        for name in (WEIGHTS, CONFIG, TABLE):
            tracker.log_artifact(out / name)
        return {"trials_done": len(trials), "best": {"trial": best.name, **best.described}, "val": best.scores}

    params = {"seed": recipe.seed, **recipe.tune.model_dump(mode="json")}
    return carry_out("tune", out=out, identity=identity, plan=plan, params=params, store=store, work=work)


def _is_head(out: AnyPath) -> bool:
    """Whether the chosen head is there, undamaged."""
    try:
        load_head(out)
    except (RunFolderError, WeightsError):
        return False
    return True


def _head_of(out: AnyPath, trial: Trial) -> PackedHead:
    """
    Raises:
        RunFolderError: it is damaged.
    """
    folder = trial_folder(out, trial.number)
    try:
        return load_head(folder)[0]
    except (RunFolderError, WeightsError) as error:
        raise RunFolderError(f"{error}, once {folder} is deleted: the same command runs that trial again") from None


def _require_heads(recipe: Recipe) -> None:
    """
    Raises:
        RecipeError: a head that is not known.
    """
    unknown = [name for name in recipe.tune.heads if name not in HEADS]
    if unknown:
        raise RecipeError(
            "recipe",
            [f"`tune.heads`: {HEADS.missing(name)}" for name in unknown],
        )


def _run_missing(
    recipe: Recipe, classes: list[str], train: Bags, val: Bags, out: AnyPath, tracker: Tracker
) -> list[Trial]:
    """All trials of the search, of which only those without a record are run; each is a child run in MLflow, once."""
    every = settings(recipe.tune, recipe.seed)
    trials = read_trials(out, len(every))
    for trial in trials.values():
        _log(tracker, trial)
    missing = [number for number in range(len(every)) if number not in trials]
    if missing:
        from wsc_ray.mil.ray_tune import Task, run_trials
        from wsc_ray.ray_session import ray_session

        # MLflow is told from a thread: Ctrl-C strikes the main one, and a store's lock left half-way would outlive it.
        with (
            ray_session(),
            ThreadPoolExecutor(1) as beside,
            Progress("tune", len(every), unit="trials", done=len(trials)) as progress,
        ):
            told: list[Future[None]] = []

            def finished(trial: Trial) -> None:
                trials[trial.number] = trial
                told.append(beside.submit(_log, tracker, trial))
                progress.advance(1, f"best validation AUROC {best_trial(list(trials.values())).scores['auroc']:.3f}")

            task = Task([settings_values(each) for each in every], recipe.tune, classes, recipe.seed, out)
            run_trials(train, val, task, missing, on_trial=finished)
            for future in told:
                future.result()
    return [trials[number] for number in range(len(every))]


def _log(tracker: Tracker, trial: Trial) -> None:
    metrics = {f"val_{key}": value for key, value in trial.scores.items()}
    metrics |= {"best_epoch": trial.best_epoch, "epochs": trial.epochs, "seconds": trial.seconds}
    tracker.child(name=trial.name, params=trial.described, metrics=metrics)


def _plan(
    recipe: Recipe, features: AnyPath, out: AnyPath, classes: list[str], train: pa.Table, val: pa.Table
) -> dict[str, Any]:
    sides = {"train": train, "val": val}
    made = not set(val["split"].to_pylist()) - {recipe.data.train_split}
    return {
        "features": shown(features),
        "out": shown(out),
        "classes": classes,
        "validation": f"patients of split {recipe.data.train_split}" if made else f"split {recipe.data.val_split}",
        "slides": {name: sum(n > 0 for n in table["patches"].to_pylist()) for name, table in sides.items()},
        "patients": {name: len(set(table["patient_id"].to_pylist())) for name, table in sides.items()},
        "patches": {name: sum(table["patches"].to_pylist()) for name, table in sides.items()},
        "slides_without_patches": sum(n == 0 for table in sides.values() for n in table["patches"].to_pylist()),
        "trials": recipe.tune.trials,
        "concurrent": recipe.tune.concurrent,
        "trials_there": len(read_trials(out, recipe.tune.trials)),
    }


def _identity(recipe: Recipe, classes: list[str], train: Bags, val: Bags) -> dict[str, Any]:
    """What decides the outcome of a search; `concurrent` changes only how long it takes."""
    return {
        "seed": recipe.seed,
        "tune": _deciding(recipe),
        "classes": classes,
        "features": train.digest()[:32] + val.digest()[:32],
    }


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """The settings of `tune` that decide the outcome; searches before there were several heads had no `heads`."""
    values = recipe.tune.model_dump(mode="json", exclude={"concurrent"})
    if values["heads"] == ["abmil"]:
        del values["heads"]
    return values


def describe_search(summary: dict[str, Any]) -> str:
    """A summary, or the plan of a dry run, for people."""
    slides, patients = summary["slides"], summary["patients"]
    lines = [
        f"features    {summary['features']}",
        f"classes     {', '.join(summary['classes'])}",
        f"fitted on   {slides['train']} slides of {patients['train']} patients",
        f"chosen on   {slides['val']} slides of {patients['val']} patients ({summary['validation']})",
    ]
    if summary["slides_without_patches"]:
        lines.append(f"left out    {summary['slides_without_patches']} slides without patches")
    lines += [f"note        {note}" for note in summary.get("notes", ())]
    if "best" not in summary:
        there = f", {summary['trials_there']} of them done" if summary["trials_there"] else ""
        return "\n".join(
            [
                *lines,
                f"trials      {summary['trials']}, {summary['concurrent']} at a time{there}",
                f"out         {summary['out']}",
            ]
        )
    best, val = summary["best"], summary["val"]
    note = (
        " (already complete, nothing was run)" if summary.get("already_complete") else f" in {summary['seconds']:g} s"
    )
    settings = ", ".join(
        f"{name.replace('_', ' ')} {value:.2g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in best.items()
        if name not in ("trial", "head")
    )
    return "\n".join(
        [
            *lines,
            f"trials      {summary['trials_done']}{note}",
            f"best        {best['trial']}: {best['head']}, {settings}",
            f"validation  AUROC {val['auroc']:.3f}, balanced accuracy {val['balanced_accuracy']:.3f}, "
            f"loss {val['loss']:.3f}",
            f"head        {as_path(summary['out']) / WEIGHTS}",
        ]
    )

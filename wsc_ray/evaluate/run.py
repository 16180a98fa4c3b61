"""`wsc-ray evaluate`: measuring the chosen head on the test split, with a line in the ledger for each opening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.evaluate.assess import Result, assess, flat_metrics
from wsc_ray.evaluate.calibration import calibrate
from wsc_ray.evaluate.inputs import (
    check_members,
    fold_of,
    measured_slides,
    predict_members,
    validation_predictions,
)
from wsc_ray.evaluate.ledger import (
    LEDGER,
    Opening,
    counted,
    digest_of_members,
    digest_of_recipe,
    digest_of_slides,
    last_opening,
    read_ledger,
    record,
)
from wsc_ray.evaluate.report import (
    CONFUSION,
    MEMBERS,
    PREDICTIONS,
    write_confusion,
    write_members,
    write_predictions,
)
from wsc_ray.features.store import read_slides
from wsc_ray.files import FILES, digests, read_summary
from wsc_ray.mil.bags import load_bags
from wsc_ray.mil.ensemble import Member, load_members
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.mil.mlflow_registry import model_tag
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown


def evaluate_head(
    *,
    run: str | Path | None = None,
    features: str | Path | None = None,
    head: str | Path | None = None,
    out: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Measure a head on the slides of `data.test_split`, or of its folds; the same call again writes the same results again.

    Args:
        run: the run folder, which gives the defaults of the arguments below.
        features: the feature store (default `RUN/features`); it may be that of another cohort.
        head: the folder of the head and its members (default `RUN/mil`).
        out: the output folder (default `RUN/evaluate`).
        recipe, overrides: the recipe (default `RUN/recipe.yaml`), of which `seed`, `data`, `tune`, `evaluate` and `tracking` are used.
        dry_run: check head and slides, return the plan, and write nothing.

    Returns:
        The summary, also in `OUT/summary.json`; for a dry run the plan. Each metric has `value`, `low`, `high` (null
        where it is not defined) and `left_out`, the number of bootstrap samples in which it is not defined.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    folder, recipe = resolve_run(run, recipe, overrides)
    features, head, out = resolve_paths(
        "evaluate",
        features=(features, folder and folder.features),
        head=(head, folder and folder.mil),
        out=(out, folder and folder.evaluate),
    )
    claim_folder("evaluate", out)
    members = load_members(head)
    chosen = choose_slides(read_slides(features), recipe.data)
    slides = measured_slides(chosen.slides, members, features, recipe)
    classes = check_members(members, features, head)
    _check_order(recipe, classes)
    plan = _plan(features, head, out, recipe, members, slides)
    ledger_folder = folder.path if folder else head
    cohort = digest_of_slides(slides)
    plan["opened_before"] = counted(read_ledger(ledger_folder), cohort)["opening"]
    if dry_run:
        return plan
    bags = load_bags(features, slides, classes, patch_labels=True)
    if len(set(bags.patient_ids)) == 1:
        raise DataError(
            f"all slides to measure on are of patient {bags.patient_ids[0]}; intervals over patients need two at least"
        )
    result = Result(bags, classes, *predict_members(members, bags, fold_of(slides), head))
    validation = validation_predictions(members, chosen.slides, features, recipe, head)
    calibration = None if isinstance(validation, str) else calibrate(result.members, *validation)
    measured = assess(result, recipe, calibration)
    reason = validation if isinstance(validation, str) else "the validation slides lack a class"
    without = [] if calibration else [f"no temperature or threshold is chosen: {reason}"]
    measured["notes"] = [*chosen.notes, *measured["notes"], *without]

    store = open_store(
        recipe.tracking.uri, recipe.tracking.experiment, out, head, features, *([folder.path] if folder else [])
    )

    embedded = encoder_of(features)
    opening = Opening(
        command="evaluate",
        cohort=cohort,
        where=plan["where"],
        slides=len(bags),
        head=digest_of_members(members),
        encoder=embedded["encoder"] if embedded else None,
        features=bags.digest(),
        recipe=digest_of_recipe(recipe),
    )

    def work(tracker: Tracker) -> dict[str, Any]:
        # First, since the results below show the test slides.
        ledger = record(ledger_folder, opening, run_id=tracker.run_id, completed=last_opening(read_summary(out)))
        tracker.set_tags({f"wsc_ray.test.{name}": str(value) for name, value in asdict(opening).items()})
        tracker.set_tags(model_tag(head))
        if tracker.last_step("test_openings") < ledger["opening"]:
            tracker.log_metrics({"test_openings": ledger["opening"]}, step=ledger["opening"])
        write_predictions(out / PREDICTIONS, result)
        write_members(out / MEMBERS, result)
        write_confusion(out / CONFUSION, classes, measured["confusion"])
        tracker.log_dataset(name=features.name, digest=bags.digest(), source=shown(features), context="evaluation")
        tracker.log_results(flat_metrics(measured))
        for name in (PREDICTIONS, MEMBERS, CONFUSION):
            tracker.log_artifact(out / name)
        return {
            **measured,
            "head_digest": opening.head,
            "opened_before": ledger["opening"] - 1,  # not the line of an attempt that was killed
            "ledger": {"path": shown(ledger_folder / LEDGER), **ledger},
            FILES: digests(out, (PREDICTIONS, MEMBERS, CONFUSION)),
        }

    params: dict[str, Any] = {"head": shown(head), "features": shown(features), "split": recipe.data.test_split}
    params["evaluate"] = recipe.evaluate.model_dump(mode="json")
    # Existing results are replaced, so that there is no identity to compare.
    return carry_out("evaluate", out=out, identity={}, plan=plan, params=params, store=store, work=work)


def _check_order(recipe: Recipe, classes: Sequence[str]) -> None:
    order = recipe.evaluate.order
    if order is not None and sorted(order) != sorted(classes):
        raise RecipeError(
            "recipe", [f"`evaluate.order`: {', '.join(order)} are not the head's classes; order {', '.join(classes)}"]
        )


def _plan(
    features: AnyPath, head: AnyPath, out: AnyPath, recipe: Recipe, members: Sequence[Member], slides: pa.Table
) -> dict[str, Any]:
    classes, folds = members[0].config["classes"], {member.fold for member in members} - {None}
    return {
        "features": shown(features),
        "head": shown(head),
        "out": shown(out),
        "split": None if folds else recipe.data.test_split,
        "where": f"{len(folds)} folds" if folds else f"split {recipe.data.test_split}",
        "classes": classes,
        "positive": classes[1] if len(classes) == 2 else None,
        "slides": sum(n > 0 for n in slides["patches"].to_pylist()),
        "slides_without_patches": sum(n == 0 for n in slides["patches"].to_pylist()),
        "patients": len({row["patient_id"] for row in slides.to_pylist() if row["patches"]}),
        "bootstrap": {
            "samples": recipe.evaluate.bootstrap,
            "confidence": recipe.evaluate.confidence,
            "over": "patients and members",
        },
    }

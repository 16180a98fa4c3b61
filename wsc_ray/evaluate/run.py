"""The command: the chosen head on the test split, which nothing before has looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError
from wsc_ray.evaluate.attention import pooled, weighted_mean, within_slides
from wsc_ray.evaluate.bootstrap import bootstrap
from wsc_ray.evaluate.metrics import confusion, measure
from wsc_ray.evaluate.report import CONFUSION, PREDICTIONS, Result, describe, write_confusion, write_predictions
from wsc_ray.features.store import read_slides
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.fit import predict
from wsc_ray.mil.head import load_head
from wsc_ray.mil.inputs import encoder_of, refuse_shared
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

__all__ = ["assess", "describe", "evaluate_head"]


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
    """Measure a head on the slides of `data.test_split`; the same call again writes the same anew.

    Args:
        run: the run folder, from which everything below is taken where it is not given.
        features: a feature store (`RUN/features`); another cohort's may be named.
        head: folder of the head (`RUN/mil`).
        out: where the results go (`RUN/evaluate`).
        recipe, overrides: of these, `seed`, `data`, `evaluate` and `tracking` are used (`RUN/recipe.yaml`).
        dry_run: check head and slides, return the plan and touch nothing.

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan. Each metric has `value`, `low`, `high` (null
        where it is not defined) and `left_out`, the bootstrap samples that did not define it.

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
    model, config = load_head(head)
    classes = config["classes"]
    chosen = choose_slides(read_slides(features), recipe.data)
    slides = _test_slides(chosen.slides, features, recipe)
    _check_encoder(features, head, config)
    plan = _plan(features, head, out, recipe, classes, slides)
    if dry_run:
        return plan
    bags = load_bags(features, slides, classes, patch_labels=True)
    if bags.features.shape[1] != config["features"]:
        raise DataError(
            f"features in {features} have {bags.features.shape[1]} dimensions and the head in {head} was fitted to "
            f"{config['features']}; use the encoder it was tuned with, or tune again"
        )
    logits, attention = predict(model, bags)
    result = Result(bags, classes, logits.double().softmax(dim=1).numpy(), attention.numpy())
    measured = assess(result, recipe)
    measured["notes"] = [*chosen.notes, *measured["notes"]]

    store = open_store(
        recipe.tracking.uri, recipe.tracking.experiment, out, head, features, *([folder.path] if folder else [])
    )

    def work(tracker: Tracker) -> dict[str, Any]:
        write_predictions(out / PREDICTIONS, result)
        write_confusion(out / CONFUSION, classes, measured["confusion"])
        tracker.log_dataset(name=features.name, digest=bags.digest(), source=shown(features), context="evaluation")
        tracker.log_metrics(_flat(measured))
        for name in (PREDICTIONS, CONFUSION):
            tracker.log_artifact(out / name)
        return measured

    params = {"head": shown(head), "features": shown(features), "split": recipe.data.test_split}
    params |= recipe.evaluate.model_dump(mode="json")
    # What lies there is written anew, so that there is nothing to compare.
    return carry_out("evaluate", out=out, identity={}, plan=plan, params=params, store=store, work=work)


def assess(result: Result, recipe: Recipe) -> dict[str, Any]:
    """Metrics with intervals, confusion matrix, attention where patch labels are known, and notes in words."""
    bags, classes = result.bags, result.classes
    labels, patients = bags.labels.numpy(), bags.patient_ids
    settings = recipe.evaluate
    draw = partial(
        bootstrap, patients=patients, samples=settings.bootstrap, confidence=settings.confidence, seed=recipe.seed
    )
    points = measure(labels, result.probabilities, classes)
    spread = draw(lambda w: measure(labels, result.probabilities, classes, w))
    metrics = {name: _entry(value[0], spread[name]) for name, value in points.items()}
    notes = []
    absent = [name for c, name in enumerate(classes) if c not in labels]
    if absent:
        lacking = ", ".join(name for name, entry in metrics.items() if entry["value"] is None)
        notes.append(f"no test slide is {', '.join(absent)}, so {lacking} cannot be said")
    if bags.empty:
        notes.append(f"{len(bags.empty)} test slides have no patches and are left out: {', '.join(bags.empty[:5])}")
    if any(entry["value"] == 1 for entry in metrics.values()):
        notes.append(
            f"a value of 1 is 1 in every draw: its interval has no width, few as {len(set(patients))} patients may be"
        )
    attention = None
    if bags.patch_labels is not None:
        each = within_slides(result.attention, bags)
        mean = weighted_mean(each, np.ones((1, len(bags))))[0]
        low_high = draw(lambda w: {"auroc": weighted_mean(each, w)})["auroc"]
        attention = {
            "auroc": _entry(mean, low_high),
            "auroc_pooled": _number(pooled(result.attention, bags)),
            "slides": int((~np.isnan(each)).sum()),
        }
    matrix = confusion(labels, result.probabilities.argmax(axis=1), len(classes), np.ones((1, len(labels))))[0]
    return {"metrics": metrics, "confusion": matrix.astype(int).tolist(), "attention": attention, "notes": notes}


def _test_slides(slides: pa.Table, features: AnyPath, recipe: Recipe) -> pa.Table:
    """Rows of the test split.

    Raises:
        DataError: there are none, or a test patient has slides in a split that heads are fitted or chosen on.
    """
    data = recipe.data
    test = slides_of(slides, data.test_split)
    if not test.num_rows:
        there = ", ".join(sorted({split for split in slides["split"].to_pylist() if split})) or "none"
        raise DataError(
            f"no slide in {features} is in split `{data.test_split}` (splits there: {there}); set data.test_split"
        )
    for name in (data.train_split, data.val_split):
        refuse_shared(test, slides_of(slides, name), data.test_split, name)
    return test


def _check_encoder(features: AnyPath, head: AnyPath, config: dict[str, Any]) -> None:
    """Refuse features of another encoder than the head's: of equal width, they would give nonsense in silence."""
    here, there = encoder_of(features), config.get("embed")
    if here and there and here != there:
        raise DataError(
            f"features in {features} are by another encoder or patch size than the head in {head} was tuned on; "
            "tune again"
        )


def _plan(
    features: AnyPath, head: AnyPath, out: AnyPath, recipe: Recipe, classes: list[str], slides: pa.Table
) -> dict[str, Any]:
    return {
        "features": shown(features),
        "head": shown(head),
        "out": shown(out),
        "split": recipe.data.test_split,
        "classes": classes,
        "positive": classes[1] if len(classes) == 2 else None,
        "slides": sum(n > 0 for n in slides["patches"].to_pylist()),
        "slides_without_patches": sum(n == 0 for n in slides["patches"].to_pylist()),
        "patients": len({row["patient_id"] for row in slides.to_pylist() if row["patches"]}),
        "bootstrap": {
            "samples": recipe.evaluate.bootstrap,
            "confidence": recipe.evaluate.confidence,
            "over": "patients",
        },
    }


def _entry(value: float, interval: Any) -> dict[str, Any]:
    return {
        "value": _number(value),
        "low": _number(interval.low),
        "high": _number(interval.high),
        "left_out": interval.left_out,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN: what is not defined is null."""
    return None if math.isnan(value) else float(value)


def _flat(measured: dict[str, Any]) -> dict[str, float]:
    """Metrics for MLflow: `auroc`, `auroc_low`, `auroc_high`, ..., those that are defined."""
    entries = dict(measured["metrics"])
    if measured["attention"]:
        entries["attention_auroc"] = measured["attention"]["auroc"]
        entries["attention_auroc_pooled"] = {"value": measured["attention"]["auroc_pooled"]}
    flat = {}
    for name, entry in entries.items():
        for key, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            if entry.get(key) is not None:
                flat[_metric_name(name) + suffix] = entry[key]
    return flat


def _metric_name(name: str) -> str:
    """MLflow takes letters, digits, `_-. :/` in a metric's name."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)

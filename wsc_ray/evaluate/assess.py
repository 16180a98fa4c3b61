"""All figures of an evaluation: metrics with intervals per slide and per patient, and the metrics of each member."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wsc_ray.evaluate.attention import pooled, weighted_mean, within_slides
from wsc_ray.evaluate.bootstrap import Interval, Resample, bootstrap
from wsc_ray.evaluate.calibration import Calibration, tempered
from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.evaluate.metrics import confusion, measure, measure_classes, measure_scores, reliability
from wsc_ray.evaluate.patients import Patients, by_patient
from wsc_ray.mil.bags import Bags
from wsc_ray.recipe.sections import Recipe

_SLIDES, _PATIENTS, _CALIBRATED, _ATTENTION = "slides ", "patients ", "calibrated ", "attention "


@dataclass(frozen=True, eq=False)
class Result:
    """An ensemble's predictions for b slides: its members' probabilities (M, b, C), and `attention` (n,) float32."""

    bags: Bags
    classes: list[str]
    members: MemberPredictions
    attention: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """The ensemble's probabilities, (b, C) float64."""
        return self.members.ensemble()

    @property
    def labels(self) -> np.ndarray:
        """The true labels, (b,) class indices."""
        return self.bags.labels.numpy()


def assess(result: Result, recipe: Recipe, calibration: Calibration | None = None) -> dict[str, Any]:
    """Return every figure of an evaluation.

    Args:
        calibration: temperatures and thresholds for these slides, chosen on validation slides; None for none.

    Returns:
        `metrics` (per slide), `confusion`, `reliability`, `per_patient`, `calibrated`, `members`, `folds`, `attention`, and
        `notes`, a list of sentences. Each metric has `value`, `low`, `high` and `left_out`.
    """
    labels, classes, members = result.labels, result.classes, result.members
    order = class_positions(recipe.evaluate.order, classes)
    patients = by_patient(result.bags.patient_ids, labels, len(classes), order)
    attention_aurocs = None if result.bags.patch_labels is None else within_slides(result.attention, result.bags)

    def statistic(draw: Resample) -> dict[str, np.ndarray]:
        probabilities = draw.probabilities(members)
        values_by_name = _named(_SLIDES, measure(labels, probabilities, classes, draw.weights, order=order))
        if len(patients):
            weights = patients.weights(draw.weights)
            values = measure(patients.labels, patients.mean(probabilities), classes, weights, order=order)
            values_by_name |= _named(_PATIENTS, values)
        if calibration is not None:
            values_by_name |= _named(
                _CALIBRATED, _calibrated(labels, probabilities, classes, draw.weights, order, calibration)
            )
        if attention_aurocs is not None:
            values_by_name[f"{_ATTENTION}auroc"] = weighted_mean(attention_aurocs, draw.weights)
        return values_by_name

    ones = np.ones((1, len(labels)))
    points = statistic(Resample(ones, (np.ones((1, len(members))),)))
    settings = recipe.evaluate
    intervals = bootstrap(
        statistic,
        result.bags.patient_ids,
        [members],
        samples=settings.bootstrap,
        confidence=settings.confidence,
        seed=recipe.seed,
    )
    entries = {name: entry(name, value[0], intervals[name], len(classes)) for name, value in points.items()}
    metrics = _of(_SLIDES, entries)
    probabilities = members.ensemble()
    attention = None
    if attention_aurocs is not None:
        attention = {
            **_of(_ATTENTION, entries),
            "auroc_pooled": number(pooled(result.attention, result.bags)),
            "slides": int((~np.isnan(attention_aurocs)).sum()),
        }
    return {
        "metrics": metrics,
        "confusion": _matrix(labels, probabilities, len(classes)),
        "reliability": [asdict(each_bin) for each_bin in reliability(labels, probabilities)],
        "per_patient": {
            "patients": len(patients),
            "metrics": _of(_PATIENTS, entries),
            "confusion": _matrix(patients.labels, patients.mean(probabilities), len(classes)) if len(patients) else [],
            "left_out": list(patients.left_out),
        },
        "calibrated": calibration and {"chosen": calibration.described(), "metrics": _of(_CALIBRATED, entries)},
        "members": _members(labels, members, classes, order),
        "folds": _folds(labels, members, classes, order),
        "attention": attention,
        "notes": _notes(result, metrics, patients),
    }


def class_positions(order: Sequence[str] | None, classes: Sequence[str]) -> list[int] | None:
    """Return the classes' indices from the mildest to the most severe; None if they have no order."""
    return None if order is None else [classes.index(name) for name in order]


def entry(name: str, value: float, spread: Interval, classes: int) -> dict[str, Any]:
    """Return a metric for JSON, with its interval clipped to the metric's range."""
    low, high = bounds(name, classes)
    return {
        "value": number(value),
        "low": number(np.clip(spread.low, low, high)),
        "high": number(np.clip(spread.high, low, high)),
        "left_out": spread.left_out,
    }


def bounds(name: str, classes: int) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric, for this number of classes."""
    if "sensitivity" in name or "specificity" in name:  # a class may be called kappa
        return 0.0, 1.0
    return -1.0 if "kappa" in name else 0.0, 2.0 if classes > 2 and "brier" in name else 1.0


def number(value: float) -> float | None:
    """Return a value for JSON: None, written as null, for NaN."""
    return None if math.isnan(value) else float(value)


def _calibrated(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    weights: np.ndarray,
    order: Sequence[int] | None,
    calibration: Calibration,
) -> dict[str, np.ndarray]:
    """Return the metrics that change with the temperatures, and with the thresholds if there are any."""
    scores = measure_scores(labels, tempered(probabilities, calibration.temperatures), weights)
    changed = {name: scores[name] for name in ("brier", "ece")}
    if calibration.thresholds is None:
        return changed
    return measure_classes(labels, calibration.predicted(probabilities), classes, weights, order=order) | changed


def _members(
    labels: np.ndarray, members: MemberPredictions, classes: Sequence[str], order: Sequence[int] | None
) -> dict[str, Any]:
    """Return the metrics of each member alone, on the slides that it never saw, and the members' scatter."""
    values = []
    for predicted, unseen in zip(members.probabilities, members.unseen, strict=True):
        metrics = measure(labels[unseen], predicted[unseen], classes, order=order)
        values.append({name: value[0] for name, value in metrics.items()})
    scatter = {}
    for name in values[0] if len(members) > 1 else ():
        defined = np.array([member[name] for member in values if not math.isnan(member[name])])
        if len(defined) > 1:
            spread = {"mean": defined.mean(), "sd": defined.std(ddof=1), "least": defined.min(), "most": defined.max()}
            scatter[name] = {key: float(value) for key, value in spread.items()}
    return {
        "count": len(members),
        "each": [
            {"name": name, "seed": seed, "fold": fold, **{key: number(value) for key, value in metrics.items()}}
            for name, seed, fold, metrics in zip(members.names, members.seeds, members.folds, values, strict=True)
        ],
        "scatter": scatter,
    }


def _folds(
    labels: np.ndarray, members: MemberPredictions, classes: Sequence[str], order: Sequence[int] | None
) -> dict[str, Any] | None:
    """Return the metrics of each fold's ensemble on the slides of that fold; None without folds."""
    if members.fold_names == [None]:
        return None
    probabilities, folds = members.ensemble(), {}
    for fold in members.fold_names:
        here = members.unseen[members.of_fold(fold)].any(axis=0)
        metrics = measure(labels[here], probabilities[here], classes, order=order)
        folds[str(fold)] = {"slides": int(here.sum()), **{name: number(value[0]) for name, value in metrics.items()}}
    return folds


def _notes(result: Result, metrics: Mapping[str, Any], patients: Patients) -> list[str]:
    classes, bags, notes = result.classes, result.bags, []
    absent = [name for c, name in enumerate(classes) if c not in result.labels]
    if absent:
        lacking = ", ".join(name for name, each in metrics.items() if each["value"] is None)
        notes.append(f"no test slide is {', '.join(absent)}, so that {lacking} are not defined")
    if bags.empty:
        notes.append(
            f"test slides without patches, which are left out: {len(bags.empty)} ({', '.join(bags.empty[:5])})"
        )
    count = len(set(bags.patient_ids))
    for extreme in (1, 0):
        if any(each["low"] == each["value"] == each["high"] == extreme for each in metrics.values()):
            notes.append(
                f"a metric of {extreme} is {extreme} in every draw, so that its interval has no width, whatever the number of patients ({count})"
            )
    if patients.differing:
        notes.append(
            f"patients whose slides differ in their label, and who are counted by the most severe one: {patients.differing}"
        )
    if patients.left_out:
        notes.append(
            f"patients whose slides differ in their label are left out of the figures per patient: {len(patients.left_out)} "
            f"({', '.join(patients.left_out[:5])}); `evaluate.order` says which label is the most severe"
        )
    if not result.members.drawn:
        notes.append("one fit only: the intervals cover the choice of patients, and not that of the seed")
    return notes


def _matrix(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> list[list[int]]:
    ones = np.ones((1, len(labels)))
    return confusion(labels, probabilities.argmax(axis=1), classes, ones)[0].astype(int).tolist()


def _named(prefix: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {prefix + name: value for name, value in values.items()}


def _of(prefix: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in entries.items() if name.startswith(prefix)}


def flat_metrics(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the defined metrics for MLflow: `auroc`, `auroc_low`, `auroc_high`, ..."""
    entries: dict[str, Any] = dict(measured["metrics"])
    entries |= {f"patient_{name}": each for name, each in measured["per_patient"]["metrics"].items()}
    if measured["calibrated"]:
        entries |= {f"calibrated_{name}": each for name, each in measured["calibrated"]["metrics"].items()}
    entries |= {f"members_{name}": {"value": each["sd"]} for name, each in _deviations(measured)}
    if measured["attention"]:
        entries["attention_auroc"] = measured["attention"]["auroc"]
        entries["attention_auroc_pooled"] = {"value": measured["attention"]["auroc_pooled"]}
    flat = {}
    for name, each in entries.items():
        for key, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            if each.get(key) is not None:
                flat[metric_key(name) + suffix] = each[key]
    return flat


def _deviations(measured: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((f"sd_{name}", each) for name, each in measured["members"]["scatter"].items())


def metric_key(name: str) -> str:
    """Return a name that MLflow accepts for a metric: letters, digits and `_-. :/`, with `_` for all else."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)

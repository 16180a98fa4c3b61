"""Paired differences of metrics between predictions for the same slides."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.cohort.problems import listed
from wsc_ray.errors import DataError
from wsc_ray.evaluate.assess import bounds, class_positions, entry, number
from wsc_ray.evaluate.bootstrap import Resample, interval, resampled
from wsc_ray.evaluate.delong import delong, holm
from wsc_ray.evaluate.metrics import measure
from wsc_ray.evaluate.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Pairing:
    """Several results with their slides and classes in the same order, and the labels (n,) and patients (n,) that they agree on."""

    results: tuple[Predictions, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    patients: tuple[str, ...]
    known_patients: bool

    @property
    def slides(self) -> tuple[str, ...]:
        return self.results[0].slides


@dataclass(frozen=True)
class Difference:
    """A metric of result `a` minus that of result `b`, with the p-value of no difference, and Holm's adjusted p-value."""

    a: str
    b: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    left_out: int
    test: str
    p: float | None
    p_holm: float | None


def pair(results: Sequence[Predictions]) -> Pairing:
    """Return the results with their slides and classes in the same order.

    The classes have the order of the first result that `evaluate` wrote, or else of the first result; of two classes the second is
    the positive one.

    Raises:
        DataError: the results have different slides or classes, disagree on a label or a patient, or are of one patient alone.
    """
    whole = [result for result in results if len(result.classes) > 1]
    if not whole:
        raise DataError("no table has a column of probabilities for each label; give all columns in one at least")
    first = next((result for result in whole if result.ours), whole[0])
    slides = sorted(first.slides)
    results = [result.completed(first.classes) for result in results]
    for other in results:
        _refuse_other_slides(first, other)
        if set(other.classes) != set(first.classes):
            raise DataError(
                f"{other.name} has probabilities of {', '.join(other.classes)}, and {first.name} of {', '.join(first.classes)}"
            )
    labels = _agreed(results, "label", [result.labels for result in results])
    unknown = [slide for slide in slides if slide not in labels]
    if unknown:
        raise DataError(f"no table has the label of slide {listed(unknown)}; give one a column `label`")
    strange = sorted(set(labels.values()) - set(first.classes))
    if strange:
        raise DataError(f"label {listed(strange)} has no column of probabilities in {first.name}")
    patients = _agreed(results, "patient_id", [result.patients for result in results])
    if len(patients) == len(slides) and len(set(patients.values())) == 1:
        raise DataError(f"all slides are of patient {patients[slides[0]]}; intervals over patients need two at least")
    return Pairing(
        tuple(result.arranged(slides, first.classes) for result in results),
        first.classes,
        np.array([first.classes.index(labels[slide]) for slide in slides]),
        # A slide whose patient is in no table counts as a patient of its own, under a name that no patient can have.
        tuple(patients.get(slide, f"\0{slide}") for slide in slides),
        all(slide in patients for slide in slides),
    )


def compare(
    pairing: Pairing, *, samples: int, confidence: float, seed: int, order: Sequence[str] | None = None
) -> tuple[dict[str, dict[str, Any]], list[Difference]]:
    """Return each result's metrics, and the differences of all pairs, with intervals from the same resamples.

    A resample draws the same patients for all results. Members are drawn for each result independently, since fits of different
    results have nothing in common. The p-values of AUROC (two classes) are DeLong's; the others are the smallest level at which
    the interval excludes 0. Holm's adjustment is over the pairs, for each metric.

    Args:
        samples, confidence, seed: as in `bootstrap`.
        order: the classes from the mildest to the most severe; None if they have no order.

    Returns:
        The metrics by the result's name, and the differences by pair and metric.
    """
    results, labels, classes = pairing.results, pairing.labels, pairing.classes
    positions = class_positions(order, classes)

    def statistic(draw: Resample) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        for place, result in enumerate(results):
            probabilities = draw.probabilities(result.members, place)
            metrics = measure(labels, probabilities, classes, draw.weights, order=positions)
            values |= {f"{place} {name}": value for name, value in metrics.items()}
        return values

    ones = np.ones((1, len(labels)))
    points = statistic(Resample(ones, tuple(np.ones((1, len(result.members))) for result in results)))
    ensembles = [result.members for result in results]
    drawn = resampled(statistic, pairing.patients, ensembles, samples=samples, seed=seed)
    names = [key.removeprefix("0 ") for key in points if key.startswith("0 ")]
    metrics = {
        result.name: {
            name: entry(name, points[f"{i} {name}"][0], interval(drawn[f"{i} {name}"], confidence), len(classes))
            for name in names
        }
        for i, result in enumerate(results)
    }
    pairs = list(itertools.combinations(range(len(results)), 2))
    exact = _delong(pairing) if len(classes) == 2 else None
    differences = []
    for name in names:
        spread = [drawn[f"{i} {name}"] - drawn[f"{j} {name}"] for i, j in pairs]
        by_delong = name == "auroc" and exact is not None
        p_values = [
            exact.p_value(i, j) if by_delong and exact is not None else bootstrap_p(values)
            for (i, j), values in zip(pairs, spread, strict=True)
        ]
        for (i, j), values, p, adjusted in zip(pairs, spread, p_values, holm(p_values), strict=True):
            percentile, (least, most) = interval(values, confidence), bounds(name, len(classes))
            differences.append(
                Difference(
                    results[i].name,
                    results[j].name,
                    name,
                    number(points[f"{i} {name}"][0] - points[f"{j} {name}"][0]),
                    number(np.clip(percentile.low, least - most, most - least)),
                    number(np.clip(percentile.high, least - most, most - least)),
                    percentile.left_out,
                    "DeLong" if by_delong else "bootstrap",
                    number(p),
                    number(adjusted),
                )
            )
    return metrics, differences


def bootstrap_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of resampled differences (s,); NaN if none is defined.

    It is twice the share of draws on the rarer side of 0, with one draw added.
    """
    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return float("nan")
    rarer = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1, 2 * (1 + rarer) / (1 + len(defined))))


def _delong(pairing: Pairing) -> Any:
    scores = np.stack([result.members.ensemble()[:, 1] for result in pairing.results])
    return delong(pairing.labels == 1, scores, pairing.patients)


def _refuse_other_slides(first: Predictions, other: Predictions) -> None:
    lacking, more = sorted(set(first.slides) - set(other.slides)), sorted(set(other.slides) - set(first.slides))
    differences = []
    if lacking:
        differences.append(f"lacks {len(lacking)} slides of {first.name} ({listed(lacking)})")
    if more:
        differences.append(f"has {len(more)} that {first.name} lacks ({listed(more)})")
    if differences:
        raise DataError(f"{other.name} {' and '.join(differences)}; compare predictions of the same slides")


def _agreed(results: Sequence[Predictions], what: str, tables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the values of all tables by slide.

    Raises:
        DataError: two tables have different values of a slide.
    """
    agreed: dict[str, str] = {}
    source: dict[str, str] = {}
    for result, table in zip(results, tables, strict=True):
        for slide, value in table.items():
            if agreed.setdefault(slide, value) != value:
                raise DataError(
                    f"slide {slide} has {what} {agreed[slide]} in {source[slide]} and {value} in {result.name}; "
                    "correct one of them"
                )
            source.setdefault(slide, result.name)
    return agreed

"""Where each head looked: its attention over the patches of the slides in a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from wsc_ray.cohort.cohort import LABEL, PATCHES, PATIENT, SLIDE, Cohort
from wsc_ray.cohort.tables import read_user_table
from wsc_ray.errors import DataError
from wsc_ray.evaluate.inputs import check_members, predict_members
from wsc_ray.evaluate.predictions import Predictions
from wsc_ray.evaluate.report import MEMBERS
from wsc_ray.features.store import read_slide, read_slides
from wsc_ray.mil.bags import load_bags
from wsc_ray.mil.ensemble import load_members
from wsc_ray.report.collect import Facts

_SAME = 1e-3  # allowed difference from the evaluation's probabilities: processors round differently


@dataclass(frozen=True, eq=False)
class Look:
    """A slide as one result sees it.

    Attributes:
        slide: its id.
        coords: (N, 2) int64, level-0 px.
        features: (N, D) float32.
        attention: (N,) float32, sums to 1; None without an evaluated head.
        patch_labels: (N,) int8, below 0 where unknown; None if all are unknown.
    """

    slide: str
    coords: np.ndarray
    features: np.ndarray
    attention: np.ndarray | None
    patch_labels: np.ndarray | None


def choose_slides(results: Sequence[Facts], stores: Mapping[str, Cohort], most: int) -> list[str]:
    """Return the slides that a report shows, `most` at most: the test slides of evaluated results, the worst predicted first.

    Of more slides than `most`, half are the worst predicted ones, and the others are spread evenly over the rest. If no result is
    evaluated, the slides are spread evenly over the feature stores, in the order of their ids.

    Args:
        stores: the slides of each result's features, by the result's name; without those that cannot be read.
        most: largest number of slides.
    """
    error: dict[str, list[float]] = {}
    for each in results:
        for slide, value in _errors(each.predictions).items():
            error.setdefault(slide, []).append(value)
    if error:
        ordered = sorted(error, key=lambda slide: (-float(np.mean(error[slide])), slide))
        worst = ordered if len(ordered) <= most else ordered[: most // 2]
        rest = [slide for slide in sorted(error) if slide not in set(worst)]
        chosen = {*worst, *_spread(rest, most - len(worst))}
        return [slide for slide in ordered if slide in chosen]
    found: set[str] = set()
    for store in stores.values():
        found |= {row[SLIDE] for row in store.slides.select([SLIDE, PATCHES]).to_pylist() if row[PATCHES]}
    return _spread(sorted(found), most)


def look(facts: Facts, slides: Sequence[str]) -> Iterator[Look]:
    """Yield those of the slides that the result has features of, one in memory at a time.

    Raises:
        DataError: the features or the head cannot be used, or are not those that were evaluated.
        RunFolderError, WeightsError: the head cannot be read.
    """
    features = facts.parts.features
    if features is None:
        return
    store = read_slides(features).slides
    patches = dict(zip(store[SLIDE].to_pylist(), store[PATCHES].to_pylist(), strict=True))
    wanted = [slide for slide in slides if patches.get(slide)]
    predictions, head = facts.predictions, facts.parts.head
    if predictions is None or head is None or facts.parts.evaluation is None:
        for slide in wanted:
            each = read_slide(features, slide)
            yield Look(slide, each.coords, each.features, None, each.patch_label)
        return
    members = load_members(head)
    classes, folds = check_members(members, features, head), _folds(facts)
    row = {slide: number for number, slide in enumerate(predictions.slides)}
    probabilities = predictions.members.ensemble()
    for slide in wanted:
        if slide not in row:
            continue
        one = pa.table(
            {
                SLIDE: [slide],
                PATIENT: [predictions.patients.get(slide, slide)],
                LABEL: [predictions.labels[slide]],
                PATCHES: [patches[slide]],
            }
        )
        bags = load_bags(features, one, classes, patch_labels=True)
        predicted, attention = predict_members(members, bags, folds, head)
        if np.abs(predicted.ensemble()[0] - probabilities[row[slide]]).max() > _SAME:
            raise DataError(
                f"{facts.name}: the head or the features have changed since the evaluation, which says something else of slide {slide}; "
                "evaluate again"
            )
        labels = None if bags.patch_labels is None else bags.patch_labels.numpy()
        yield Look(slide, bags.coords.numpy(), bags.features.numpy(), attention, labels)


def _errors(predictions: Predictions | None) -> dict[str, float]:
    """Return the error of each slide: 1 minus the probability of its true label."""
    if predictions is None:
        return {}
    rows = zip(predictions.slides, predictions.members.ensemble(), strict=True)
    return {
        slide: 1 - float(row[predictions.classes.index(predictions.labels[slide])])
        for slide, row in rows
        if predictions.labels.get(slide) in predictions.classes
    }


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the names, evenly spread."""
    if len(names) <= most:
        return list(names)
    return [names[place] for place in np.linspace(0, len(names) - 1, max(most, 0)).round().astype(int)]


def _folds(facts: Facts) -> Mapping[str, str]:
    """Return the fold in which each slide was held out, from the evaluation's predictions by member; empty without folds."""
    assert facts.parts.evaluation is not None
    table = read_user_table(str(facts.parts.evaluation / MEMBERS))
    if SLIDE not in table.names or "fold" not in table.names:
        return {}
    pairs = zip(table.texts(SLIDE), table.texts("fold"), strict=True)
    return {slide: fold for slide, fold in pairs if slide is not None and fold is not None}

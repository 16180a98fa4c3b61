"""Where each head looked: its attention over the patches of the slides in a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from wsc_ray.attention.file import ATTENTION, read_attention
from wsc_ray.cohort.cohort import LABEL, PATCHES, PATIENT, SLIDE, Cohort
from wsc_ray.cohort.tables import read_user_table
from wsc_ray.errors import DataError, UserError
from wsc_ray.evaluate.inputs import check_members, predict_members
from wsc_ray.evaluate.predictions import Predictions
from wsc_ray.evaluate.report import MEMBERS
from wsc_ray.features.store import read_slide, read_slides
from wsc_ray.mil.bags import load_bags
from wsc_ray.mil.ensemble import load_members
from wsc_ray.report.answer_page import by_doubt
from wsc_ray.report.collect import Facts

_SAME = 1e-3  # allowed difference from the evaluation's probabilities: processors round differently


@dataclass(frozen=True, eq=False)
class Look:
    """A slide as one result sees it.

    Attributes:
        slide: its id.
        coords: (N, 2) int64, level-0 px.
        features: (N, D) float32; None if they are not there.
        attention: (N,) float32, sums to 1; None without an evaluated head or a prediction.
        patch_labels: (N,) int8, below 0 where unknown; None if all are unknown.
        side: side of a patch in level-0 px, if known without the features' file.
    """

    slide: str
    coords: np.ndarray
    features: np.ndarray | None
    attention: np.ndarray | None
    patch_labels: np.ndarray | None
    side: int | None = None


def choose_slides(results: Sequence[Facts], stores: Mapping[str, Cohort], most: int) -> list[str]:
    """Return the slides that a report shows, `most` at most: test slides of evaluated results, the worst predicted first, then other
    slides with a prediction, the most undecided first.

    Of more slides than `most`, half are the first of this order, and the others are spread evenly over the rest; if there are both kinds, each
    has half of the places, or what the other leaves. If no result is evaluated or a prediction, the slides are spread evenly over the
    feature stores, in the order of their ids.

    Args:
        stores: the slides of each result's features, by the result's name; without those that cannot be read.
        most: largest number of slides.
    """
    error: dict[str, list[float]] = {}
    for each in results:
        for slide, value in _errors(each.predictions).items():
            error.setdefault(slide, []).append(value)
    tested = sorted(error, key=lambda slide: (-float(np.mean(error[slide])), slide))
    asked = [each.slide for facts in results if facts.answers for each in by_doubt([*facts.answers.predicted.values()])]
    asked = [slide for slide in dict.fromkeys(asked) if slide not in error]
    if tested or asked:
        half = max(most // 2, most - len(asked)) if asked else most
        first = _first_and_spread(tested, half)
        return [*first, *_first_and_spread(asked, most - len(first))]
    found: set[str] = set()
    for store in stores.values():
        found |= {row[SLIDE] for row in store.slides.select([SLIDE, PATCHES]).to_pylist() if row[PATCHES]}
    return _spread(sorted(found), most)


def look(facts: Facts, slides: Sequence[str]) -> Iterator[Look]:
    """Yield those of the slides that the result has features of, one in memory at a time; none of a prediction without answers.

    Raises:
        DataError: the features or the head cannot be used, or are not those that were evaluated.
        RunFolderError, WeightsError: the head cannot be read.
    """
    if facts.parts.prediction is not None:
        if facts.answers is not None:
            yield from _look_at_prediction(facts, slides)
        return
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


def _look_at_prediction(facts: Facts, slides: Sequence[str]) -> Iterator[Look]:
    """Yield those of the slides that a prediction has attention of; labels of its cohort and patches are left out.

    Raises:
        DataError: a slide's attention is missing, or not of the predictions in the table.
    """
    assert facts.answers is not None
    assert facts.parts.prediction is not None
    features = facts.parts.features
    stored = set(read_slides(features).ids) if features is not None else set()
    for slide in slides:
        answer = facts.answers.predicted.get(slide)
        if answer is None or answer.probabilities is None:
            continue
        seen = read_attention(facts.parts.prediction / ATTENTION, slide)
        same = list(seen.classes) == list(facts.answers.classes)
        if not same or np.abs(seen.probabilities - answer.probabilities).max() > _SAME:
            raise DataError(
                f"{facts.name}: its table of predictions says something else of slide {slide} than its attention; predict again"
            )
        values = None
        if features is not None and slide in stored:
            try:
                stored_slide = read_slide(features, slide)
            except UserError:
                stored_slide = None  # the map then lacks this slide
            if stored_slide is not None and np.array_equal(stored_slide.coords, seen.coords):
                values = stored_slide.features
        yield Look(slide, seen.coords, values, seen.attention, None, seen.patch_size_level0)


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


def _first_and_spread(ordered: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the names in their order: half of them the first, the others evenly spread over the rest by name."""
    first = list(ordered if len(ordered) <= most else ordered[: most // 2])
    rest = sorted(set(ordered) - set(first))
    chosen = {*first, *_spread(rest, most - len(first))}
    return [name for name in ordered if name in chosen]


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

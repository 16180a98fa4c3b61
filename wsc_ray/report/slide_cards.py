"""The slides of a report: a thumbnail, and for each result its attention map and the patches with the highest and lowest attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from wsc_ray.mil.auroc import auroc
from wsc_ray.report.answer_page import spread_text
from wsc_ray.report.cards import Card, Cut, PatchView, Seen
from wsc_ray.report.charts import number
from wsc_ray.report.collect import Facts
from wsc_ray.report.looks import Look
from wsc_ray.report.originals import MOSAIC, Originals, patch_side
from wsc_ray.report.pictures import Frame, attention_map, frame_of, mosaic, patch_picture, thumbnail

Place = tuple[int, int]


def make_card(
    slide: str,
    looks: Mapping[str, Look],
    results: Sequence[Facts],
    originals: Mapping[str, Originals],
    *,
    site: str | None,
    shown: int,
) -> Card:
    """Return the card of a slide.

    Args:
        looks: name of a result -> its look at the slide, for results with attention.
        originals: name of a result -> the pixels behind it.
        shown: number of top patches, and of bottom patches, of each result.
    """
    by_name = {each.name: each for each in results}
    sides = {name: each.side or _side(by_name[name], slide) for name, each in looks.items()}
    pixels = {name: _pixels(name, looks, sides, originals) for name in looks}
    sharing: dict[tuple[int, int | None, bytes], list[str]] = {}
    for name, each in looks.items():
        sharing.setdefault((id(pixels[name]), sides[name], each.coords.tobytes()), []).append(name)
    cuts = [
        _cut([(by_name[name], looks[name]) for name in names], pixels[names[0]], sides[names[0]], shown)
        for names in sharing.values()
    ]
    predictions = [each.predictions for each in results if each.predictions is not None]
    patients = [each.patients.get(slide) for each in predictions]
    patients += [
        each.answers.predicted[slide].patient for each in results if each.answers and slide in each.answers.predicted
    ]
    return Card(
        slide=slide,
        patient=next(filter(None, patients), None),
        label=next((each.labels[slide] for each in predictions if slide in each.labels), None),
        site=site,
        cuts=cuts,
    )


def _cut(members: Sequence[tuple[Facts, Look]], originals: Originals, side: int | None, shown: int) -> Cut:
    """Return what results say of the same patches of a slide; `side` of these is in level-0 px."""
    first = members[0][1]
    frame = frame_of(first.coords, side)
    extremes = [_extremes(look, shown) for _, look in members]
    wanted = [_place(first, row) for top, bottom in extremes for row in (*top, *bottom)]
    whole = None if frame is None else originals.whole(first.slide, frame)
    spread = [] if whole is not None or frame is None else _spread(first.coords)
    images = originals.patches(first.slide, list(dict.fromkeys([*wanted, *spread])))
    picture, made_of = _thumbnail(frame, whole, [place for place in spread if place in images], images)
    return Cut(
        patches=len(first.coords),
        thumbnail=picture,
        made_of=made_of,
        size=(1, 1) if frame is None else frame.size,
        seen=[_seen(facts, look, frame, rows, images) for (facts, look), rows in zip(members, extremes, strict=True)],
    )


def _side(facts: Facts, slide: str) -> int | None:
    return None if facts.parts.features is None else patch_side(facts.parts.features, slide)


def _pixels(
    name: str, looks: Mapping[str, Look], sides: Mapping[str, int | None], originals: Mapping[str, Originals]
) -> Originals:
    """Return a result's own pixels; without a manifest, those of another result whose patches cover the same squares."""
    own = originals[name]
    if own.known or sides[name] is None:
        return own
    alike = (
        originals[other]
        for other, look in looks.items()
        if originals[other].known and sides[other] == sides[name] and np.array_equal(look.coords, looks[name].coords)
    )
    return next(alike, own)


def _seen(
    facts: Facts,
    look: Look,
    frame: Frame | None,
    extremes: tuple[Sequence[int], Sequence[int]],
    images: Mapping[Place, np.ndarray],
) -> Seen:
    assert look.attention is not None  # the caller passes looks with attention only
    row, classes, label, spread, note = _said(facts, look.slide)
    predicted = classes[int(row.argmax())]
    top, bottom = ([_view(look, place, images) for place in rows] for rows in extremes)
    return Seen(
        run=facts.name,
        predicted=predicted,
        probability=number(float(row.max()), 2),
        right=None if label is None else predicted == label,
        map=None if frame is None else attention_map(frame, look.coords, look.attention, look.patch_labels),
        told=_told(look),
        top=[view for view in top if view is not None],
        bottom=[view for view in bottom if view is not None],
        spread=spread,
        note=note,
    )


def _said(facts: Facts, slide: str) -> tuple[np.ndarray, Sequence[str], str | None, str, str]:
    """Return what a result says of a slide: probabilities (C,), the classes, the true label if it was evaluated, `spread` and `note`."""
    if facts.answers is not None:
        answer = facts.answers.predicted[slide]
        assert answer.probabilities is not None
        return answer.probabilities, facts.answers.classes, None, spread_text(answer), answer.note
    predictions = facts.predictions
    assert predictions is not None
    row = predictions.members.ensemble()[predictions.slides.index(slide)]
    return row, predictions.classes, predictions.labels.get(slide), "", ""


def _told(look: Look) -> str:
    """Return a sentence on where the attention lies."""
    attention = look.attention
    assert attention is not None
    highest = int(attention.argmax())
    x, y = _place(look, highest)
    few = max(1, round(len(attention) / 10))
    share = float(np.sort(attention)[-few:].sum())
    text = (
        f"highest at {x:,}, {y:,} with {number(float(attention[highest]) * len(attention), 1)} times an even share; "
        f"the top tenth of the patches holds {share:.0%}"
    )
    auroc = attention_auroc(look)
    return text if auroc is None else f"{text}; finds positive patches with AUROC {number(auroc)}"


def attention_auroc(look: Look) -> float | None:
    """Return the AUROC of attention for the known labels of a slide's patches; None if these are all the same."""
    if look.patch_labels is None or look.attention is None:
        return None
    known = look.patch_labels >= 0
    value = float(auroc(look.patch_labels[known] > 0, look.attention[known])[0])
    return None if math.isnan(value) else value


def _extremes(look: Look, shown: int) -> tuple[list[int], list[int]]:
    """Return the rows of the patches with the highest and the lowest attention, the most extreme first; none is in both."""
    assert look.attention is not None
    order = np.argsort(-look.attention, kind="stable").tolist()
    few = min(shown, len(order) // 2)
    return order[: max(few, min(1, len(order)))], order[::-1][:few]


def _view(look: Look, row: int, images: Mapping[Place, np.ndarray]) -> PatchView | None:
    place = _place(look, row)
    if place not in images:
        return None
    assert look.attention is not None
    known = -1 if look.patch_labels is None else int(look.patch_labels[row])
    times = f"{number(float(look.attention[row]) * len(look.attention), 1)}x"
    label = None if known < 0 else "positive" if known else "negative"
    return PatchView(patch_picture(images[place]), *place, times, label)


def _thumbnail(
    frame: Frame | None, whole: np.ndarray | None, spread: Sequence[Place], images: Mapping[Place, np.ndarray]
) -> tuple[str | None, str]:
    if frame is None:
        return None, "places not known"
    if whole is not None:
        return thumbnail(whole, frame), "thumbnail"
    if spread:
        return mosaic(frame, spread, [images[place] for place in spread]), "its patches"
    return None, "no pixels here"


def _spread(coords: np.ndarray) -> list[Place]:
    rows = np.linspace(0, len(coords) - 1, min(len(coords), MOSAIC)).round().astype(int)
    return [(x, y) for x, y in coords[rows].tolist()]


def _place(look: Look, row: int) -> Place:
    x, y = look.coords[row].tolist()
    return x, y

"""The slides that an evaluation measures and calibrates on, and the members' predictions for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.evaluate.ensemble import MemberPredictions, pool
from wsc_ray.mil.bags import Bags, load_bags, slides_of
from wsc_ray.mil.ensemble import Member
from wsc_ray.mil.fit import predict
from wsc_ray.mil.inputs import encoder_of, fitting_slides, refuse_shared
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath

FOLD = "fold"


def measured_slides(slides: pa.Table, members: Sequence[Member], features: AnyPath, recipe: Recipe) -> pa.Table:
    """Return the slides to measure on: those of the test split, or if the members have folds, the slides of the folds.

    Args:
        slides: the slides of the chosen cohort, with a column `fold` if it has folds.

    Raises:
        DataError: there are no such slides, a fold has no member, or a test patient has slides in a split that heads are fitted
            or chosen on.
    """
    data = recipe.data
    if any(member.fold is not None for member in members):
        return _slides_of_folds(slides, members)
    test = slides_of(slides, data.test_split)
    if not test.num_rows:
        splits = ", ".join(sorted({split for split in slides["split"].to_pylist() if split})) or "none"
        raise DataError(
            f"no slide in {features} is in split `{data.test_split}` (splits there: {splits}); set data.test_split"
        )
    for name in (data.train_split, data.val_split):
        refuse_shared(test, slides_of(slides, name), data.test_split, name)
    return test


def fold_of(slides: pa.Table) -> dict[str, str]:
    """Return the fold of each slide that is in one, by slide id."""
    if FOLD not in slides.column_names:
        return {}
    pairs = zip(slides["slide_id"].to_pylist(), slides[FOLD].to_pylist(), strict=True)
    return {slide: fold for slide, fold in pairs if fold is not None}


def check_members(members: Sequence[Member], features: AnyPath, head: AnyPath) -> list[str]:
    """Check that all members have the same classes and the features' encoder, and return the classes.

    Raises:
        DataError: classes or encoders differ. Features of another encoder with the same width would silently give nonsense.
    """
    classes = common_classes(members, head)
    encoder = encoder_of(features)
    tuned_on = [member.config["embed"] for member in members if member.config.get("embed")]
    if encoder and any(encoder != other for other in tuned_on):
        raise DataError(
            f"features in {features} are by another encoder or patch size than those that the head in {head} was tuned on; "
            "tune again"
        )
    return classes


def common_classes(members: Sequence[Member], head: AnyPath) -> list[str]:
    """Return the classes of the members.

    Raises:
        DataError: members have different classes.
    """
    classes = members[0].config["classes"]
    other = next((member.name for member in members if member.config["classes"] != classes), None)
    if other is not None:
        raise DataError(f"members {members[0].name} and {other} of {head} have different classes; tune again")
    return classes


def predict_members(
    members: Sequence[Member], bags: Bags, folds: Mapping[str, str], head: AnyPath
) -> tuple[MemberPredictions, np.ndarray]:
    """Return each member's predictions for the slides that it never saw.

    Args:
        folds: the folds of the slides, by slide id; empty without folds.
        head: the folder of the members, for messages.

    Returns:
        The predictions, and the attention (n,) float32, as the mean over the members that never saw the slide.

    Raises:
        DataError: the features do not have the head's width, a slide's fold has no member, or a member has seen a slide that is to
            be measured, because splits or folds differ from those of `tune`.
    """
    _check_width(members, bags, head)
    own = [_unseen(member, bags, folds) for member in members]
    for member, slides in zip(members, own, strict=True):
        seen = {bags.slide_ids[slide] for slide in slides} & set(member.config.get("val_slides", ()))
        if seen:
            raise DataError(
                f"slide {min(seen)} is to be measured, and member {member.name} in {head} was chosen with it; give the splits "
                "and folds that `tune` had, or tune again"
            )
    lacking = np.flatnonzero(np.bincount(np.concatenate(own), minlength=len(bags)) == 0)
    if len(lacking):
        slide = bags.slide_ids[lacking[0]]
        raise DataError(f"no member in {head} was held out from fold {folds.get(slide)} of slide {slide}; tune again")
    attention, counts = np.zeros(len(bags.features)), np.zeros(len(bags.features))
    parts, lengths = [], bags.lengths.numpy()
    for member, slides in zip(members, own, strict=True):
        probabilities, member_attention = _predict(member, bags, slides)
        parts.append((slides, probabilities))
        rows = np.repeat(np.isin(np.arange(len(bags)), slides), lengths)
        attention[rows] += member_attention
        counts[rows] += 1
    return _pooled(members, parts, bags), (attention / counts).astype(np.float32)


def validation_predictions(
    members: Sequence[Member], slides: pa.Table, features: AnyPath, recipe: Recipe, head: AnyPath
) -> tuple[MemberPredictions, np.ndarray] | str:
    """Return each member's predictions for its validation slides, with the slides' labels; or the reason why there are none.

    A member's `config.json` lists its validation slides (`val_slides`). For an older head without this list, they are the validation
    slides that the recipe gives, if the search had the same ones.
    """
    listed: list[Sequence[str]] = [member.config.get("val_slides", ()) for member in members]
    if all("val_slides" in member.config for member in members):
        ids = set().union(*listed)
        table = _rows(slides, ids)
        if len(ids) > table.num_rows:
            return "validation slides of the search are not in these features"
        bags = load_bags(features, table, members[0].config["classes"])
    else:
        try:
            classes, _, table = fitting_slides(slides, recipe)
            bags = load_bags(features, table, classes)
            search = read_identity(head, "tune") or {}
        except (DataError, RunFolderError):
            return "these features have no validation slides"
        if classes != members[0].config["classes"] or search.get("features", "")[32:] != bags.digest()[:32]:
            return "the validation slides that the head was chosen on are not known"
        listed = [bags.slide_ids] * len(members)
    parts = []
    for member, names in zip(members, listed, strict=True):
        chosen = set(names)
        where = np.array([index for index, slide in enumerate(bags.slide_ids) if slide in chosen], dtype=np.int64)
        parts.append((where, _predict(member, bags, where)[0]))
    return _pooled(members, parts, bags), bags.labels.numpy()


def refuse_unknown_folds(slides: pa.Table, members: Sequence[Member]) -> None:
    """Check that the folds of slides are known, where members of a head have folds.

    Raises:
        DataError: the slides have no folds, or some members have none.
    """
    if FOLD not in slides.column_names:
        raise DataError("the head was tuned with folds; name their column with data.fold, as `tune` had it")
    if any(member.fold is None for member in members):
        raise DataError("some members of the head have a fold and others none; tune again")


def _slides_of_folds(slides: pa.Table, members: Sequence[Member]) -> pa.Table:
    """Return the slides that are in a fold; `predict_members` raises an error for a fold without members."""
    refuse_unknown_folds(slides, members)
    chosen = slides.filter(pc.is_valid(slides[FOLD])).sort_by("slide_id")
    if not chosen.num_rows:
        raise DataError("no slide is in a fold; name their column with data.fold")
    return chosen


def _rows(slides: pa.Table, ids: set[str]) -> pa.Table:
    return slides.filter(pc.is_in(slides["slide_id"], pa.array(sorted(ids)))).sort_by("slide_id")


def _unseen(member: Member, bags: Bags, folds: Mapping[str, str]) -> np.ndarray:
    """Return the indices (k,) of the slides that a member may be measured on."""
    if member.fold is None:
        return np.arange(len(bags))
    return np.array([i for i, slide in enumerate(bags.slide_ids) if folds.get(slide) == member.fold], dtype=np.int64)


def _predict(member: Member, bags: Bags, slides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (k, C) float64 of the given slides, and the attention of their patches."""
    if not len(slides):
        return np.zeros((0, len(member.config["classes"]))), np.zeros(0)
    selected = bags if len(slides) == len(bags) else bags.select(slides.tolist())
    logits, attention = predict(member.head, selected)
    return logits.double().softmax(dim=1).numpy(), attention.numpy()


def _pooled(members: Sequence[Member], parts: Sequence[tuple[np.ndarray, np.ndarray]], bags: Bags) -> MemberPredictions:
    names, seeds, folds = zip(*((member.name, member.seed, member.fold) for member in members), strict=True)
    return MemberPredictions(names, seeds, folds, pool(parts, len(bags), len(members[0].config["classes"])))


def _check_width(members: Sequence[Member], bags: Bags, head: AnyPath) -> None:
    width = bags.features.shape[1]
    for member in members:
        wanted: Any = member.config["features"]
        if width != wanted:
            raise DataError(
                f"features have {width} dimensions and the head in {head} was fitted to {wanted}; use the encoder it was "
                "tuned with, or tune again"
            )

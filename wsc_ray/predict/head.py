"""The head that predicts: its members, the slides and features that they were fitted to, and the calibration that `evaluate` chose
on validation slides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError, UserError
from wsc_ray.evaluate.calibration import Choice
from wsc_ray.evaluate.inputs import common_classes, fold_of, refuse_unknown_folds
from wsc_ray.evaluate.ledger import digest_of_members
from wsc_ray.features.store import read_slides
from wsc_ray.files import read_summary
from wsc_ray.mil.ensemble import Member, load_members
from wsc_ray.predict.fitted import features_of_head
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath


@dataclass(frozen=True, eq=False)
class Head:
    """A head with its members.

    Attributes:
        place: its folder.
        classes: the labels, in order.
        width: D, the width of the features that it takes.
        embed: the digest or name of the encoder whose features it was fitted to (`encoder`), and the size of the patches that the
            encoder saw, in px (`size`); None if those features did not say.
        features: the feature store that it was fitted to; None if it is not known, or gone.
        digest: SHA-256 (hex) of all members' weights.
        fitted: the slides that it was fitted to or chosen with, as far as the cohort of its features and its own list of validation slides tell;
            without those in `folds`, which other members predict.
        folds: slide id -> fold, for the slides of that cohort, if members have folds.
        calibration: fold (None: without folds) -> what `evaluate` chose on validation slides for exactly these members; empty if it
            chose nothing.
        notes: remarks on the head for the user, in sentences.
    """

    place: AnyPath
    members: Sequence[Member]
    classes: Sequence[str]
    width: int
    embed: Mapping[str, Any] | None
    features: AnyPath | None
    digest: str
    fitted: frozenset[str]
    folds: Mapping[str, str]
    calibration: Mapping[str | None, Choice]
    notes: tuple[str, ...] = ()


def load_head_of(place: AnyPath, run: RunFolder | None, recipe: Recipe) -> Head:
    """Load the members in a folder, and what their run knows about them.

    Raises:
        RunFolderError, WeightsError: see `load_members`.
        DataError: members differ in their classes, or in the width or encoder of the features that they were fitted to; or they have
            folds, and the recipe does not name the folds of the run's slides.
    """
    members = load_members(place)
    classes = common_classes(members, place)
    widths, embeds = {member.head.features for member in members}, [member.config.get("embed") for member in members]
    if len(widths) > 1 or any(each != embeds[0] for each in embeds):
        raise DataError(f"members of {place} were fitted to features of several encoders; tune again")
    digest = digest_of_members(members)
    features, problem = features_of_head(place, embeds[0], run)
    slides, unknown = _cohort(members, features, run, recipe)
    fitted, folds = _known_slides(members, slides, recipe)
    notes = (f"slides that the head was fitted to are not recognised: {unknown}",) if unknown else ()
    if features is None and (problem or run is not None):
        notes = (_without_features(problem),)
    return Head(
        place,
        members,
        classes,
        widths.pop(),
        embeds[0],
        features,
        digest,
        fitted,
        folds,
        _calibration(run, digest),
        notes,
    )


def _cohort(
    members: Sequence[Member], features: AnyPath | None, run: RunFolder | None, recipe: Recipe
) -> tuple[pa.Table | None, str]:
    """Return the slides of the features that the head was fitted to, as the recipe chooses them, or None and why they are not known.

    Raises:
        DataError: members have folds, and the cohort is there and has no such column.
    """
    if run is None:
        return None, "without --run its cohort is not known"  # nor are the splits that its recipe names
    if features is None:
        return None, ""  # a note of its own says so
    try:
        cohort = read_slides(features)
    except UserError as error:
        return None, str(error)
    try:
        return choose_slides(cohort, recipe.data).slides, ""
    except UserError as error:
        if isinstance(error, DataError) and _in_folds(members):
            raise
        return None, str(error)  # so may the table `data.cohort`


def _without_features(problem: str) -> str:
    """Return what it means that a head's features are not there; `problem` is why, "" if no record names them."""
    why = f" ({problem})" if problem else ""
    return (
        f"the features that the head was fitted to are not known, or gone{why}: the scale of patches cannot be compared with theirs, and "
        "slides that the head was fitted to are not recognised"
    )


def _in_folds(members: Sequence[Member]) -> bool:
    return any(member.fold is not None for member in members)


def _known_slides(
    members: Sequence[Member], slides: pa.Table | None, recipe: Recipe
) -> tuple[frozenset[str], dict[str, str]]:
    """Return the slides that members were fitted to or chosen with; and, if members have folds, the fold of each slide.

    Args:
        slides: the slides of the run's cohort; None if unknown.

    Raises:
        DataError: see `refuse_unknown_folds`.
    """
    listed = {slide for member in members for slide in member.config.get("val_slides", ())}
    if slides is None:
        return frozenset(listed), {}
    if _in_folds(members):
        refuse_unknown_folds(slides, members)
        folds = fold_of(slides)
        return frozenset(listed - folds.keys()), folds
    splits = zip(slides["slide_id"].to_pylist(), slides["split"].to_pylist(), strict=True)
    listed |= {slide for slide, split in splits if split in (recipe.data.train_split, recipe.data.val_split)}
    return frozenset(listed), {}


def _calibration(run: RunFolder | None, digest: str) -> dict[str | None, Choice]:
    """Return, by fold, what `RUN/evaluate` chose for the members with this digest; empty if it is of other members."""
    known = (read_summary(run.evaluate) if run is not None else None) or {}
    chosen = known.get("calibrated")
    if known.get("head_digest") != digest or not chosen:
        return {}
    return {each["fold"]: Choice(**each) for each in chosen["chosen"]}

"""The head that predicts: its members, the slides and features that they were fitted to, and the calibration that `evaluate` chose
on validation slides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError, UserError
from wsc_ray.evaluate.calibration import Choice
from wsc_ray.evaluate.inputs import common_classes, fold_of
from wsc_ray.evaluate.ledger import digest_of_members
from wsc_ray.features.store import read_slides
from wsc_ray.files import read_summary
from wsc_ray.mil.ensemble import Member, load_members
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
        digest: SHA-256 (hex) of all members' weights.
        fitted: the slides that it was fitted to or chosen with, as far as the run's features tell.
        folds: slide id -> fold, if members have folds.
        calibration: fold (None: without folds) -> what `evaluate` chose on validation slides for exactly these members; empty if it
            chose nothing.
    """

    place: AnyPath
    members: Sequence[Member]
    classes: Sequence[str]
    width: int
    embed: Mapping[str, Any] | None
    digest: str
    fitted: frozenset[str]
    folds: Mapping[str, str]
    calibration: Mapping[str | None, Choice]


def load_head_of(place: AnyPath, run: RunFolder | None, recipe: Recipe) -> Head:
    """Load the members in a folder, and what their run knows about them.

    Raises:
        RunFolderError, WeightsError: see `load_members`.
        DataError: members differ in their classes, or in the width or encoder of the features that they were fitted to.
    """
    members = load_members(place)
    classes = common_classes(members, place)
    widths, embeds = {member.head.features for member in members}, [member.config.get("embed") for member in members]
    if len(widths) > 1 or any(each != embeds[0] for each in embeds):
        raise DataError(f"members of {place} were fitted to features of several encoders; tune again")
    digest = digest_of_members(members)
    fitted, folds = _known_slides(members, run, recipe)
    return Head(place, members, classes, widths.pop(), embeds[0], digest, fitted, folds, _calibration(run, digest))


def _known_slides(
    members: Sequence[Member], run: RunFolder | None, recipe: Recipe
) -> tuple[frozenset[str], dict[str, str]]:
    """Return the slides that members were fitted to or chosen with; or, if members have folds, the fold of each slide."""
    in_folds = any(member.fold is not None for member in members)
    listed = {slide for member in members for slide in member.config.get("val_slides", ())}
    try:
        slides = choose_slides(read_slides(run.features), recipe.data).slides if run is not None else None
    except UserError:  # the run's features or cohort may have moved
        slides = None
    if in_folds:
        return frozenset(), fold_of(slides) if slides is not None else {}
    if slides is not None:
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

"""The slides that `tune` and `evaluate` may see, and the encoder of their features."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort.cohort import FOLD
from wsc_ray.errors import DataError
from wsc_ray.files import is_file_name
from wsc_ray.mil.bags import class_order, slides_of
from wsc_ray.mil.folds import patient_split
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath

FOLD_NAME = 100  # characters


@dataclass(frozen=True, eq=False)
class Sides:
    """The slides of one search.

    Attributes:
        fold: the fold that is held out; None if that is the cohort's test split.
        train: the slides to fit on.
        val: the slides to stop and to choose on.
        held_out: the slides of the fold, which the search does not see; empty without folds.
    """

    fold: str | None
    train: pa.Table
    val: pa.Table
    held_out: pa.Table

    @property
    def every(self) -> pa.Table:
        """All slides, sorted by slide id."""
        return pa.concat_tables([self.train, self.val, self.held_out]).sort_by("slide_id")

    def folds_digest(self) -> str:
        """Return the SHA-256 (hex) of each slide's fold."""
        pairs = [*zip(self.every["slide_id"].to_pylist(), self.every[FOLD].to_pylist(), strict=True)]
        return hashlib.sha256(repr(pairs).encode()).hexdigest()


def fitting_sides(slides: pa.Table, recipe: Recipe) -> tuple[list[str], list[Sides]]:
    """Return the classes in order, and the slides of every search: one search, or with `data.fold` one for each fold.

    Raises:
        DataError: see `fitting_slides` and `fold_sides`.
    """
    if recipe.data.fold is not None:
        return fold_sides(slides, recipe)
    classes, train, val = fitting_slides(slides, recipe)
    return classes, [Sides(None, train, val, slides.slice(0, 0))]


def fold_sides(slides: pa.Table, recipe: Recipe) -> tuple[list[str], list[Sides]]:
    """Return the classes in order, and the slides of each fold's search. Splits are ignored, and slides without a fold left out.

    Some patients of the other folds (`tune.val_fraction`) give the validation slides.

    Raises:
        DataError: there are fewer than two folds, a fold's name cannot be part of a file name, a fold lacks a class, the recipe
            does not name a label, or there are too few patients.
    """
    column = recipe.data.fold
    inside = slides.filter(pc.is_valid(slides[FOLD])).sort_by("slide_id")
    names = sorted(set(inside[FOLD].to_pylist()))
    if len(names) < 2:
        raise DataError(
            f"column `{column}` has {len(names)} folds ({', '.join(names) or 'none'}), and two are needed at least; "
            "`wsc-ray cohort folds` makes such a column"
        )
    bad = [name for name in names if not is_file_name(name) or len(name) > FOLD_NAME]
    if bad:
        raise DataError(
            f"fold {bad[0]!r} of column `{column}` cannot be part of a file name (letters, digits and ._ ()+=@- only, "
            f"{FOLD_NAME} at most); give it another name"
        )
    classes = _classes(inside, recipe)
    for name in names:
        lacking = set(classes) - set(_labels(inside.filter(pc.equal(inside[FOLD], name))))
        if lacking:
            raise DataError(
                f"fold {name} of column `{column}` has no slide with patches of {', '.join(sorted(lacking))}; make fewer "
                "folds, so that each has every label"
            )
    sides = []
    for name in names:
        held_out = pc.equal(inside[FOLD], name)
        train, val = _split_patients(inside.filter(pc.invert(held_out)), recipe)
        sides.append(Sides(name, train, val, inside.filter(held_out)))
    return classes, sides


def fitting_slides(slides: pa.Table, recipe: Recipe) -> tuple[list[str], pa.Table, pa.Table]:
    """Return the classes in order, the slides to fit on, and the slides to validate on; slides of other splits are not used.

    Validation slides are those of `data.val_split`; if there are none, those of some patients of `data.train_split`. Slides without
    patches stay in the tables, to be counted, but do not influence a split.

    Raises:
        DataError: there are no training slides, the recipe does not name a label, a class is missing on a side, or a patient is
            on both sides.
    """
    data = recipe.data
    train, val = slides_of(slides, data.train_split), slides_of(slides, data.val_split)
    if not train.num_rows:
        raise DataError(f"no slide is in split `{data.train_split}`; there is nothing to fit a head to")
    classes = _classes(train, recipe)
    if not val.num_rows:
        return classes, *_split_patients(train, recipe)
    refuse_shared(train, val, data.train_split, data.val_split)
    val_labels = set(_labels(val))
    for label in sorted(val_labels ^ set(classes)):
        present, lacking = data.train_split, data.val_split
        if label in val_labels:
            present, lacking = lacking, present
        raise DataError(
            f"label {label} is in split `{present}` and not in `{lacking}`; choosing a head needs every label in both"
        )
    return classes, train, val


def _classes(slides: pa.Table, recipe: Recipe) -> list[str]:
    data = recipe.data
    classes = class_order(_labels(slides), data.pure)
    unknown = set(classes) - set(data.pure) - set(data.mixed) if data.mixed is not None else set()
    if unknown:
        raise DataError(f"label {', '.join(sorted(unknown))} is neither in data.pure nor in data.mixed")
    return classes


def _split_patients(slides: pa.Table, recipe: Recipe) -> tuple[pa.Table, pa.Table]:
    """Divide slides by patient into slides to fit on and slides to validate on."""
    full = slides.filter(pc.greater(slides["patches"], 0))
    mask = patient_split(_patients(full), _labels(full), fraction=recipe.tune.val_fraction, seed=recipe.seed)
    chosen = {patient for patient, inside in zip(_patients(full), mask, strict=True) if inside}
    inside = pa.array([patient in chosen for patient in _patients(slides)])
    return slides.filter(pc.invert(inside)), slides.filter(inside)


def refuse_shared(one: pa.Table, other: pa.Table, name: str, other_name: str) -> None:
    """Check that no patient has slides in both tables.

    Raises:
        DataError: a patient has.
    """
    both = sorted(set(_patients(one)) & set(_patients(other)))
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise DataError(
            f"patient {both[0]}{more} has slides in split `{name}` and in split `{other_name}`; keep each in one"
        )


def encoder_of(features: AnyPath) -> dict[str, Any] | None:
    """Return the encoder's digest and the patch size of the features; None if their folder does not name these.

    Raises:
        RunFolderError: the folder's identity is damaged.
    """
    identity = read_identity(features, "embed") or {}
    return {name: identity[name] for name in ("encoder", "size")} if {"encoder", "size"} <= identity.keys() else None


def _patients(slides: pa.Table) -> list[str]:
    return slides["patient_id"].to_pylist()


def _labels(slides: pa.Table) -> list[str]:
    """Return the labels of the slides that have patches."""
    return slides.filter(pc.greater(slides["patches"], 0))["label"].to_pylist()

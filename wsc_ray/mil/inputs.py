"""Which slides `tune` and `evaluate` may see, and what their features were made by."""

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
        fold: what is held out; None: the cohort's test split.
        train: to fit on.
        val: to stop and to choose on.
        held_out: those of the fold; no search looks at them. Empty without folds.
    """

    fold: str | None
    train: pa.Table
    val: pa.Table
    held_out: pa.Table

    @property
    def every(self) -> pa.Table:
        """All of them, by slide id."""
        return pa.concat_tables([self.train, self.val, self.held_out]).sort_by("slide_id")

    def folds_digest(self) -> str:
        """SHA-256 (hex) of which slide is in which fold."""
        pairs = [*zip(self.every["slide_id"].to_pylist(), self.every[FOLD].to_pylist(), strict=True)]
        return hashlib.sha256(repr(pairs).encode()).hexdigest()


def fitting_sides(slides: pa.Table, recipe: Recipe) -> tuple[list[str], list[Sides]]:
    """Classes in order, and the slides of every search: one, or with `data.fold` one for each fold.

    Raises:
        DataError: see `fitting_slides` and `fold_sides`.
    """
    if recipe.data.fold is not None:
        return fold_sides(slides, recipe)
    classes, train, val = fitting_slides(slides, recipe)
    return classes, [Sides(None, train, val, slides.slice(0, 0))]


def fold_sides(slides: pa.Table, recipe: Recipe) -> tuple[list[str], list[Sides]]:
    """Classes in order, and the slides of each fold's search, whatever the splits; slides without a fold are left out.

    The validation slides are those of some patients of the other folds (`tune.val_fraction`).

    Raises:
        DataError: fewer than two folds, one that cannot be a file name or that lacks a class, a label that the recipe
            does not know, or too few patients to choose among.
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
    """Classes in order, and the slides to fit and to validate on; slides of other splits are not looked at.

    Validation slides are those of `data.val_split`, or some patients of `data.train_split` where there are none.
    Slides without patches stay in the tables (to be counted) but sway no split.

    Raises:
        DataError: no training slides, a label that the recipe does not know, a class missing on a side, or a patient
            on both.
    """
    data = recipe.data
    train, val = slides_of(slides, data.train_split), slides_of(slides, data.val_split)
    if not train.num_rows:
        raise DataError(f"no slide is in split `{data.train_split}`; there is nothing to fit a head to")
    classes = _classes(train, recipe)
    if not val.num_rows:
        return classes, *_split_patients(train, recipe)
    refuse_shared(train, val, data.train_split, data.val_split)
    found = set(_labels(val))
    for label in sorted(found ^ set(classes)):
        there, lacking = (data.val_split, data.train_split) if label in found else (data.train_split, data.val_split)
        raise DataError(
            f"label {label} is in split `{there}` and not in `{lacking}`; choosing a head needs every label in both"
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
    """Slides to fit on and, of some patients, slides to validate on."""
    full = slides.filter(pc.greater(slides["patches"], 0))
    mask = patient_split(_patients(full), _labels(full), fraction=recipe.tune.val_fraction, seed=recipe.seed)
    chosen = {patient for patient, inside in zip(_patients(full), mask, strict=True) if inside}
    inside = pa.array([patient in chosen for patient in _patients(slides)])
    return slides.filter(pc.invert(inside)), slides.filter(inside)


def refuse_shared(one: pa.Table, other: pa.Table, name: str, other_name: str) -> None:
    """Raise a `DataError` where a patient has slides in both tables."""
    both = sorted(set(_patients(one)) & set(_patients(other)))
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise DataError(
            f"patient {both[0]}{more} has slides in split `{name}` and in split `{other_name}`; keep each in one"
        )


def encoder_of(features: AnyPath) -> dict[str, Any] | None:
    """What the features were made by (encoder digest and patch size), None where the folder does not say.

    Raises:
        RunFolderError: what says it is damaged.
    """
    known = read_identity(features, "embed") or {}
    return {name: known[name] for name in ("encoder", "size")} if {"encoder", "size"} <= known.keys() else None


def _patients(slides: pa.Table) -> list[str]:
    return slides["patient_id"].to_pylist()


def _labels(slides: pa.Table) -> list[str]:
    """Labels of the slides that have patches."""
    return slides.filter(pc.greater(slides["patches"], 0))["label"].to_pylist()

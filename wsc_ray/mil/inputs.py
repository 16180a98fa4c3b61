"""Which slides `tune` and `evaluate` may see, and what their features were made by."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.errors import DataError
from wsc_ray.mil.bags import class_order, slides_of
from wsc_ray.mil.folds import patient_split
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import read_identity
from wsc_ray.storage import AnyPath


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
    classes = class_order(_labels(train), data.pure)
    unknown = set(classes) - set(data.pure) - set(data.mixed) if data.mixed is not None else set()
    if unknown:
        raise DataError(f"label {', '.join(sorted(unknown))} is neither in data.pure nor in data.mixed")
    if not val.num_rows:
        full = train.filter(pc.greater(train["patches"], 0))
        mask = patient_split(_patients(full), _labels(full), fraction=recipe.tune.val_fraction, seed=recipe.seed)
        chosen = {patient for patient, inside in zip(_patients(full), mask, strict=True) if inside}
        inside = pa.array([patient in chosen for patient in _patients(train)])
        return classes, train.filter(pc.invert(inside)), train.filter(inside)
    refuse_shared(train, val, data.train_split, data.val_split)
    found = set(_labels(val))
    for label in sorted(found ^ set(classes)):
        there, lacking = (data.val_split, data.train_split) if label in found else (data.train_split, data.val_split)
        raise DataError(
            f"label {label} is in split `{there}` and not in `{lacking}`; choosing a head needs every label in both"
        )
    return classes, train, val


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

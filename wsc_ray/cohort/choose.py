"""Which slides a recipe works on: the cohort, what `data.cohort` puts over it, one target and one column of splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort.cohort import FOLD, KEYS, LABEL, PATCHES, SPLIT, Cohort
from wsc_ray.cohort.overlay import overlay
from wsc_ray.cohort.problems import find_contradictions
from wsc_ray.cohort.tables import read_user_table
from wsc_ray.errors import DataError

if TYPE_CHECKING:  # features are read where there is no pydantic
    from wsc_ray.recipe.sections import Data


@dataclass(frozen=True, eq=False)
class Chosen:
    """The slides that take part.

    Attributes:
        slides: by slide id: `slide_id`, `patient_id`, `label` (the target; never null), `split` (null: in none),
            `fold` where the recipe names a column of folds (null: in none), and `patches` where the cohort counts them.
        notes: what people should know of the choice.
    """

    slides: pa.Table
    notes: tuple[str, ...] = ()


def choose_slides(cohort: Cohort, data: Data) -> Chosen:
    """The slides of a cohort as a recipe's `data` wants them.

    Raises:
        ManifestError: `data.cohort` cannot be read or does not fit.
        DataError: there is no column `data.target`, `data.split_column` or `data.fold`, no slide has that target, or a patient is in
            two splits or folds. With folds a cohort may have no splits.
    """
    notes: list[str] = []
    if data.cohort:
        cohort, notes = overlay(cohort, read_user_table(data.cohort))
    labels = cohort.texts(data.target)
    folds = cohort.texts(data.fold) if data.fold is not None else None
    without = folds is not None and data.split_column not in cohort.columns
    splits = [None] * len(cohort) if without else cohort.texts(data.split_column)
    problems = find_contradictions(cohort.slides, target=data.target, splits=(data.split_column, data.fold))
    if problems:
        raise DataError(f"{cohort.name}: {'; '.join(problems)}")
    columns = {name: cohort.slides[name] for name in KEYS}
    columns |= {LABEL: pa.array(labels, pa.string()), SPLIT: pa.array(splits, pa.string())}
    if folds is not None:
        columns[FOLD] = pa.array(folds, pa.string())
    if PATCHES in cohort.slides.column_names:
        columns[PATCHES] = cohort.slides[PATCHES]
    slides = pa.table(columns)
    known = slides.filter(pc.is_valid(slides[LABEL]))
    if not known.num_rows:
        raise DataError(f"no slide of {cohort.name} has a value in `{data.target}`")
    if known.num_rows < slides.num_rows:
        notes.append(f"slides that have no `{data.target}` and take no part: {slides.num_rows - known.num_rows:,}")
    return Chosen(known, tuple(notes))

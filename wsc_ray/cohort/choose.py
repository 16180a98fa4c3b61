"""Choose the slides that a recipe works on: the cohort, overlaid with `data.cohort`, with one target and one split column."""

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

if TYPE_CHECKING:  # this module must work without pydantic, where only features are read
    from wsc_ray.recipe.sections import Data


@dataclass(frozen=True, eq=False)
class Chosen:
    """The slides that a recipe works on.

    Attributes:
        slides: sorted by slide id: `slide_id`, `patient_id`, `label` (the target; never null), `split` (null: in no
            split), `fold` where the recipe names a column of folds (null: in no fold), and `patches` where the cohort
            counts them.
        notes: sentences for the user on slides that are left out.
    """

    slides: pa.Table
    notes: tuple[str, ...] = ()


def choose_slides(cohort: Cohort, data: Data) -> Chosen:
    """Return the slides of a cohort that a recipe's `data` chooses.

    With folds a cohort needs no splits.

    Raises:
        ManifestError: `data.cohort` cannot be read or does not fit.
        DataError: there is no column `data.target`, `data.split_column` or `data.fold`, no slide has a value of the
            target, or a patient is in two splits or folds.
    """
    notes: list[str] = []
    if data.cohort:
        cohort, notes = overlay(cohort, read_user_table(data.cohort))
    labels = cohort.texts(data.target)
    folds = cohort.texts(data.fold) if data.fold is not None else None
    without_splits = folds is not None and data.split_column not in cohort.columns
    splits = [None] * len(cohort) if without_splits else cohort.texts(data.split_column)
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
    labelled = slides.filter(pc.is_valid(slides[LABEL]))
    if not labelled.num_rows:
        raise DataError(f"no slide of {cohort.name} has a value in `{data.target}`")
    if labelled.num_rows < slides.num_rows:
        notes.append(f"slides that have no `{data.target}` and take no part: {slides.num_rows - labelled.num_rows:,}")
    return Chosen(labelled, tuple(notes))

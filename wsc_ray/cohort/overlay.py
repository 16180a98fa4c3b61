"""`data.cohort`: a table that gives the slides of a manifest or feature store other labels, splits or folds."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from wsc_ray.cohort.cohort import KEYS, PATCHES, PATIENT, SLIDE, Cohort, make_cohort
from wsc_ray.cohort.problems import find_problems, listed
from wsc_ray.cohort.tables import UserTable, choose_column
from wsc_ray.errors import ManifestError

ALIASES = {SLIDE: ("sample_id",), PATIENT: ("case_id",)}


def overlay(cohort: Cohort, table: UserTable) -> tuple[Cohort, list[str]]:
    """Return the slides that a table lists, with the table's columns in place of the cohort's.

    A table with a column of slides has one row for each slide; a table with a column of patients only, one row for each
    patient. Slides that it does not list are left out.

    Returns:
        The cohort, and notes for the user.

    Raises:
        ManifestError: the table names no slides or patients, none of the cohort's, or one of them several times.
    """
    key_columns = {name: choose_column(table.names, name, ALIASES[name]) for name in KEYS}
    names = {column: name for name, (column, _) in key_columns.items() if column is not None}
    if not names:
        raise ManifestError(f"{table.source} has neither a column `slide_id` nor `patient_id`{key_columns[SLIDE][1]}")
    key = SLIDE if SLIDE in names.values() else PATIENT
    columns = {
        names.get(column, column): table.texts(column, label=column not in names)
        for column in table.names
        if names.get(column, column) != PATCHES
    }
    row_of = _rows(table, key, columns.pop(key))
    own_names = cohort.texts(key)
    chosen = {row: row_of[name] for row, name in enumerate(own_names) if name in row_of}  # cohort's row -> table's row
    if not chosen:
        kind = "slides" if key == SLIDE else "patients"
        raise ManifestError(
            f"{table.source} lists none of the {kind} of {cohort.name}: it has {listed(sorted(row_of))}, and the cohort "
            f"has {listed(sorted(filter(None, set(own_names))))}"
        )
    slides = cohort.slides.take(pa.array(list(chosen)))
    for name, values in columns.items():
        column = pa.chunked_array([pa.array([values[row] for row in chosen.values()], pa.string())])
        index = slides.column_names.index(name) if name in slides.column_names else None
        if name == PATIENT:  # where a table of slides has no patient, the cohort's remains
            own = slides[PATIENT].to_pylist()
            column = pa.chunked_array(
                [pa.array([new or old for new, old in zip(column.to_pylist(), own, strict=True)])]
            )
        slides = slides.append_column(name, column) if index is None else slides.set_column(index, name, column)
    problems = find_problems(slides)
    if problems:
        raise ManifestError(
            f"{table.source} does not fit {cohort.name}\n" + "\n".join(f"  {problem}" for problem in problems)
        )
    return make_cohort(slides, f"{table.source} over {cohort.name}"), _notes(cohort, table, key, row_of, len(chosen))


def _rows(table: UserTable, key: str, values: Sequence[str | None]) -> dict[str, int]:
    """Return the row of each slide or patient in the table."""
    rows: dict[str, int] = {}
    wrong = []
    for row, name in enumerate(values):
        if name is None:
            wrong.append(f"{table.where(row)} has no {key}")
        elif name in rows:
            wrong.append(f"{name} is in {table.where(rows[name])} and in {table.where(row)}")
        else:
            rows[name] = row
    if wrong:
        raise ManifestError(f"{table.source}: {listed(wrong)}")
    return rows


def _notes(cohort: Cohort, table: UserTable, key: str, row_of: dict[str, int], chosen: int) -> list[str]:
    notes = []
    if chosen < len(cohort):
        notes.append(
            f"slides of {cohort.name} that {table.source} does not list and that take no part: {len(cohort) - chosen:,}"
        )
    unknown = set(row_of) - set(cohort.texts(key))
    if unknown:
        notes.append(
            f"values of {key} in {table.source} that {cohort.name} lacks and that are left aside: {len(unknown):,}"
        )
    return notes

"""`data.cohort`: a table that puts other labels, splits or folds on slides that are there already."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from wsc_ray.cohort.cohort import KEYS, PATCHES, PATIENT, SLIDE, Cohort, make_cohort
from wsc_ray.cohort.problems import find_problems, listed
from wsc_ray.cohort.tables import UserTable, choose_column
from wsc_ray.errors import ManifestError

ALIASES = {SLIDE: ("sample_id",), PATIENT: ("case_id",)}


def overlay(cohort: Cohort, table: UserTable) -> tuple[Cohort, list[str]]:
    """The slides that a table lists, with its columns over the cohort's own.

    A table with a column of slides has a row a slide; one with a column of patients alone, a row a patient. Slides that it
    does not list take no part.

    Returns:
        The cohort, and what people should know of it.

    Raises:
        ManifestError: the table names no slides or patients, none of the cohort's, or one of them several times.
    """
    found = {name: choose_column(table.names, name, ALIASES[name]) for name in KEYS}
    names = {column: name for name, (column, _) in found.items() if column is not None}
    if not names:
        raise ManifestError(f"{table.source} has neither a column `slide_id` nor `patient_id`{found[SLIDE][1]}")
    key = SLIDE if SLIDE in names.values() else PATIENT
    columns = {
        names.get(column, column): table.texts(column, label=column not in names)
        for column in table.names
        if names.get(column, column) != PATCHES
    }
    row_of = _rows(table, key, columns.pop(key))
    ours = cohort.texts(key)
    chosen = {place: row_of[name] for place, name in enumerate(ours) if name in row_of}  # our row -> the table's
    if not chosen:
        what = "slides" if key == SLIDE else "patients"
        raise ManifestError(
            f"{table.source} lists none of the {what} of {cohort.name}: it has {listed(sorted(row_of))}, and there are "
            f"{listed(sorted(filter(None, set(ours))))}"
        )
    slides = cohort.slides.take(pa.array(list(chosen)))
    for name, values in columns.items():
        column = pa.chunked_array([pa.array([values[row] for row in chosen.values()], pa.string())])
        place = slides.column_names.index(name) if name in slides.column_names else None
        if name == PATIENT:  # a table of slides that lacks some patients keeps the cohort's own
            own = slides[PATIENT].to_pylist()
            column = pa.chunked_array(
                [pa.array([new or old for new, old in zip(column.to_pylist(), own, strict=True)])]
            )
        slides = slides.append_column(name, column) if place is None else slides.set_column(place, name, column)
    problems = find_problems(slides)
    if problems:
        raise ManifestError(
            f"{table.source} does not fit {cohort.name}\n" + "\n".join(f"  {each}" for each in problems)
        )
    return make_cohort(slides, f"{table.source} over {cohort.name}"), _notes(cohort, table, key, row_of, len(chosen))


def _rows(table: UserTable, key: str, values: Sequence[str | None]) -> dict[str, int]:
    """The row of each slide or patient."""
    rows: dict[str, int] = {}
    wrong = []
    for row, name in enumerate(values):
        if name is None:
            wrong.append(f"{table.where(row)} has no {key}")
        elif name in rows:
            wrong.append(f"{name} is there in {table.where(rows[name])} and in {table.where(row)}")
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

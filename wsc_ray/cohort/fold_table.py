"""`cohort folds`: a table of slides is read, and written again with a column of folds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.cohort.cohort import KEYS, PATCHES, PATIENT, SITE
from wsc_ray.cohort.folds import By, make_folds
from wsc_ray.cohort.overlay import ALIASES
from wsc_ray.cohort.problems import alike
from wsc_ray.cohort.store import read_cohort
from wsc_ray.cohort.tables import choose_column, read_user_table
from wsc_ray.cohort.values import suggest
from wsc_ray.errors import DataError, ManifestError, RunFolderError
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown

Columns = dict[str, list[str | None]]


def write_folds(
    *, source: str | AnyPath, out: str | AnyPath, by: By, folds: int, target: str, column: str, seed: int
) -> dict[str, Any]:
    """Write the table of slides in `source` with one column more, the fold of each slide; the summary.

    Args:
        source: a folder with `slides.parquet` (a manifest or features), or a CSV, TSV or Parquet table.
        out: a new table, CSV, or Parquet where its name ends in `.parquet`.
        by, folds, seed: see `make_folds`.
        target: column of the label; slides without one get no fold.
        column: what the new column is called.

    Raises:
        ManifestError, DataError: the table cannot be read, lacks a column, has one of that name already, or has no such
            folds.
        RunFolderError: `out` is there already.
    """
    place = as_path(out)
    if place.exists():
        raise RunFolderError(f"{place} exists; give another --out, or delete it")
    columns = _read(source)
    patient = _named(source, columns, PATIENT, ALIASES[PATIENT])
    label = _named(source, columns, target)
    if column in columns:
        raise DataError(f"{source} has a column `{column}` already; give another --column")
    nameless = sum(not each for each in columns[patient])
    if nameless:
        raise DataError(f"{source} has {nameless:,} rows without a patient; folds keep patients together")
    problems = alike(columns[label], target)
    if problems:
        raise DataError(f"{source}: {problems[0]}")
    known = [row for row, value in enumerate(columns[label]) if value is not None]

    def of(name: str) -> list[Any]:
        return [columns[name][row] for row in known]

    names = make_folds(of(patient), of(label), of(SITE) if SITE in columns else None, by=by, folds=folds, seed=seed)
    found = dict(zip(known, names, strict=True))
    rows = len(columns[label])
    _write(place, {**columns, column: [found.get(row) for row in range(rows)]})
    return {
        "cohort": shown(source),
        "out": shown(place),
        "column": column,
        "by": by,
        "folds": _counted(names, of(patient), of(label)),
        "slides_without_label": rows - len(known),
    }


def _read(source: str | AnyPath) -> Columns:
    """The columns of a table or of a folder's cohort, as text; without the number of patches, which is the folder's own."""
    path = as_path(source)
    if path.is_dir():
        cohort = read_cohort(path)
        if cohort is None:
            raise ManifestError(f"{path} has no slides.parquet; give a manifest, features, or a table of slides")
        return {name: cohort.texts(name) for name in cohort.slides.column_names if name != PATCHES}
    table = read_user_table(str(source))
    keys = {*KEYS, *(name for aliases in ALIASES.values() for name in aliases)}
    return {name: table.texts(name, label=name not in keys) for name in table.names}


def _named(source: str | AnyPath, columns: Columns, name: str, aliases: Sequence[str] = ()) -> str:
    found, hint = choose_column(list(columns), name, aliases)
    if found is None:
        raise DataError(f"{source} has no column `{name}`{hint or suggest(name, list(columns))}")
    return found


def _counted(names: Sequence[str], patients: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """By fold: slides, patients, and slides of each label."""
    counts = {}
    for name in sorted(set(names)):
        rows = [row for row, each in enumerate(names) if each == name]
        of_label = {label: sum(labels[row] == label for row in rows) for label in sorted(set(labels))}
        counts[name] = {"slides": len(rows), "patients": len({patients[row] for row in rows}), **of_label}
    return counts


def _write(path: AnyPath, columns: Columns) -> None:
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            pq.write_table(
                pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), temporary
            )
            return
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

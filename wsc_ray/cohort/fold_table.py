"""`cohort folds`: read a table of slides and write it again with a column of folds."""

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
    """Write the table of slides in `source` with the fold of each slide as a new column, and return a summary.

    Args:
        source: a folder with `slides.parquet` (a manifest or features), or a CSV, TSV or Parquet table.
        out: the new table: Parquet where its name ends in `.parquet`, else CSV.
        by, folds, seed: see `make_folds`.
        target: column of the label; slides without a label get no fold.
        column: name of the new column.

    Raises:
        ManifestError, DataError: the table cannot be read, lacks a column, has the new column already, or cannot be
            divided into such folds.
        RunFolderError: `out` exists.
    """
    place = as_path(out)
    if place.exists():
        raise RunFolderError(f"{place} exists; give another --out, or delete it")
    columns = _read(source)
    patient = _named(source, columns, PATIENT, ALIASES[PATIENT])
    label = _named(source, columns, target)
    if column in columns:
        raise DataError(f"{source} has a column `{column}` already; give another --column")
    nameless = sum(not name for name in columns[patient])
    if nameless:
        raise DataError(f"{source} has {nameless:,} rows without a patient; folds keep patients together")
    problems = alike(columns[label], target)
    if problems:
        raise DataError(f"{source}: {problems[0]}")
    labelled = [row for row, value in enumerate(columns[label]) if value is not None]

    def chosen(name: str) -> list[Any]:
        return [columns[name][row] for row in labelled]

    sites = chosen(SITE) if SITE in columns else None
    names = make_folds(chosen(patient), chosen(label), sites, by=by, folds=folds, seed=seed)
    fold_of = dict(zip(labelled, names, strict=True))
    rows = len(columns[label])
    _write(place, {**columns, column: [fold_of.get(row) for row in range(rows)]})
    return {
        "cohort": shown(source),
        "out": shown(place),
        "column": column,
        "by": by,
        "folds": _counted(names, chosen(patient), chosen(label)),
        "slides_without_label": rows - len(labelled),
    }


def _read(source: str | AnyPath) -> Columns:
    """Return the columns of a table or of a folder's cohort, as text, without the number of patches in that folder."""
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
    column, hint = choose_column(list(columns), name, aliases)
    if column is None:
        raise DataError(f"{source} has no column `{name}`{hint or suggest(name, list(columns))}")
    return column


def _counted(names: Sequence[str], patients: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return, for each fold, its numbers of slides, of patients, and of slides of each label."""
    counts = {}
    for fold in sorted(set(names)):
        rows = [row for row, name in enumerate(names) if name == fold]
        by_label = {label: sum(labels[row] == label for row in rows) for label in sorted(set(labels))}
        counts[fold] = {"slides": len(rows), "patients": len({patients[row] for row in rows}), **by_label}
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

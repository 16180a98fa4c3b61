"""Turn a user's columns into the manifest's: their names, constants, types and label names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort.values import CODED, as_number, as_text, suggest
from wsc_ray.manifest.schema import COLUMNS, OPTIONAL, OPTIONAL_OF_SLIDE, PIXELS, SLIDE_COLUMNS

_OPTIONAL = ("level", "mpp", *OPTIONAL_OF_SLIDE.names, *OPTIONAL.names)


def choose_columns(
    available: Sequence[str], columns: Mapping[str, str], constants: Mapping[str, Any], optional: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Choose the source column that fills each column of the manifest.

    Args:
        available: the source's columns.
        columns: manifest name -> source column; a name that is left out is filled by the source column of that name.
        constants: manifest name -> one value for every row.
        optional: names that need neither, besides level, mpp and the manifest's optional columns.

    Returns:
        manifest name -> source column, with one name for pixels; and problems.
    """
    chosen: dict[str, str] = {}
    problems = []
    for name in [*columns, *constants]:
        if name not in COLUMNS.names or (name in constants and name in PIXELS.names):
            others = [other for other in COLUMNS.names if other != name]
            problems.append(f"`{name}` is not a column of a manifest that can be set this way{suggest(name, others)}")
        if name in columns and name in constants:
            problems.append(f"`{name}` has both a source column and a constant; give one")
    for name, column in columns.items():
        if column not in available:
            problems.append(f"`{name}`: the source has no column `{column}`{suggest(column, available)}")
    kinds = [name for name in PIXELS.names if name in columns] or [name for name in PIXELS.names if name in available]
    for name in COLUMNS.names:
        if name in PIXELS.names and name not in kinds[:1]:
            continue
        if name in columns:
            chosen[name] = columns[name]
        elif name not in constants and name in available:
            chosen[name] = name
        elif name not in constants and name not in {*optional, *_OPTIONAL, *PIXELS.names}:
            problems.append(f"`{name}` is missing: {_advice(name)}")
    if not kinds:
        problems.append(f"pixels are missing: name the source column of one of {', '.join(PIXELS.names)}")
    return chosen, problems


def build_table(
    values: Mapping[str, pa.ChunkedArray], rows: int, constants: Mapping[str, Any], label_names: Mapping[str, str]
) -> tuple[pa.Table, list[str]]:
    """Return a table of the manifest's columns made from the source's values, with the defaults level 0 and mpp null.

    Args:
        values: manifest name -> column of `rows` values, of any type that can become the manifest's.
        label_names: label in the source -> label in the manifest; when given, every label must be in it.

    Returns:
        The table, with dictionary-encoded ids and without columns that have neither values nor a default; and problems.
    """
    problems = []
    done: dict[str, pa.ChunkedArray] = {}
    for name in COLUMNS.names:
        if name in values:
            column = values[name]
        elif name in constants or name in ("level", "mpp"):
            scalar = pa.scalar(
                constants.get(name, 0 if name == "level" else None),
                None if name in constants else COLUMNS.field(name).type,
            )
            column = pa.chunked_array([pa.repeat(scalar, rows)])
        else:
            continue
        try:
            done[name] = (
                as_text(column, label=name == "label")
                if name in SLIDE_COLUMNS
                else as_number(column, COLUMNS.field(name).type)
                if name not in PIXELS.names
                else column.cast(pa.string())
            )
        except pa.ArrowException as error:
            reason = _first_bad(name, column) or str(error).splitlines()[0]
            problems.append(f"`{name}` cannot be {COLUMNS.field(name).type}: {reason}")
    if label_names and "label" in done:
        done["label"], unknown = rename(done["label"], label_names)
        if unknown:
            problems.append(f"label names are given, but not for {', '.join(map(repr, unknown))}")
    return pa.table(done), problems


def rename(labels: pa.ChunkedArray, names: Mapping[str, str]) -> tuple[pa.ChunkedArray, list[str]]:
    """Return dictionary-encoded labels under their new names, and the labels that have no new name."""
    present = pc.drop_null(pc.unique(labels).cast(pa.string())).to_pylist()
    unknown = sorted(set(present) - set(names))
    renamed = [chunk.dictionary.to_pylist() for chunk in labels.chunks]
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, pa.array([names.get(name, name) for name in values], pa.string()))
        for chunk, values in zip(labels.chunks, renamed, strict=True)
    ]
    return as_text(pa.chunked_array(chunks, CODED)), unknown


def _first_bad(name: str, column: pa.ChunkedArray) -> str | None:
    """Return `row 7 is 'abc'` for the first bad value; slow, and only called for an error."""
    for row, value in enumerate(column):
        try:
            as_number(column.slice(row, 1), COLUMNS.field(name).type)
        except pa.ArrowException:
            return f"row {row} is {value.as_py()!r}"
    return None


def _advice(name: str) -> str:
    if name == "split":
        return 'name its source column, or give a constant (such as "train") if all rows have the same split'
    if name == "patient_id":
        return "name its source column; use that of slide_id if every slide belongs to another patient"
    if name == "patch_size":
        return "name its source column or give a constant: only images show their size"
    return "name its source column" + ("" if name in ("x", "y") else " or give a constant")

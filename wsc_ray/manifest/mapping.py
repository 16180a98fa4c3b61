"""From somebody's columns to the manifest's: names, constants, types, label names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.manifest.schema import COLUMNS, IDS, OPTIONAL, PIXELS

_OPTIONAL = ("level", "mpp", *OPTIONAL.names)
_CODED = pa.dictionary(pa.int32(), pa.string())


def choose_columns(
    available: Sequence[str], columns: Mapping[str, str], constants: Mapping[str, Any], optional: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Which source column fills which column of the manifest.

    Args:
        available: the source's columns.
        columns: manifest name -> source column; a name left out is filled by the source column of that name.
        constants: manifest name -> one value for every row.
        optional: names that may have neither, besides level, mpp and the manifest's optional ones.

    Returns:
        manifest name -> source column, one of them for pixels; and problems.
    """
    chosen: dict[str, str] = {}
    problems = []
    for name in [*columns, *constants]:
        if name not in COLUMNS.names or (name in constants and name in PIXELS.names):
            others = [other for other in COLUMNS.names if other != name]
            problems.append(f"`{name}` is no column of a manifest that can be given this way{_guess(name, others)}")
        if name in columns and name in constants:
            problems.append(f"`{name}` has both a source column and a constant; give one")
    for name, column in columns.items():
        if column not in available:
            problems.append(f"`{name}`: the source has no column `{column}`{_guess(column, available)}")
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
    """The manifest's columns from the source's values, with the defaults level 0 and mpp null.

    Args:
        values: manifest name -> column of `rows` values, of any type that can become the manifest's.
        label_names: label in the source -> label in the manifest; when given, every label must be in it.

    Returns:
        The table, ids dictionary-encoded, columns that are neither given nor have a default left out; and problems.
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
            done[name] = as_text(column, clean=name == "label") if name in IDS else as_type(name, column)
        except pa.ArrowException as error:
            found = _first_bad(name, column) or str(error).splitlines()[0]
            problems.append(f"`{name}` cannot be {COLUMNS.field(name).type}: {found}")
    if label_names and "label" in done:
        done["label"], unknown = rename(done["label"], label_names)
        if unknown:
            problems.append(f"label names are given, but not for {', '.join(map(repr, unknown))}")
    return pa.table(done), problems


def as_text(column: pa.ChunkedArray, *, clean: bool = False) -> pa.ChunkedArray:
    """Strings, dictionary-encoded, without surrounding blanks; whole numbers as people write them: `1`, not `1.0`.

    Args:
        clean: also turn the text `1.0` into `1`, as in a CSV that was written from floats.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type) and pc.all(pc.equal(pc.round(column), column)).as_py() is not False:
        column = column.cast(pa.int64())
    column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    if clean:
        column = pc.replace_substring_regex(column, r"^(-?\d+)\.0+$", r"\1")
    return column.dictionary_encode().unify_dictionaries().cast(_CODED)


def as_type(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The manifest's type, nothing rounded or cut off."""
    wanted = COLUMNS.field(name).type
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(wanted):
        return column.cast(wanted, safe=False)  # 0.5 as a double has no exact float32
    if pa.types.is_integer(wanted) and pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column).cast(pa.float64())
    return column.cast(wanted)


def rename(labels: pa.ChunkedArray, names: Mapping[str, str]) -> tuple[pa.ChunkedArray, list[str]]:
    """Dictionary-encoded labels under new names, and those that have none."""
    found = pc.drop_null(pc.unique(labels).cast(pa.string())).to_pylist()
    unknown = sorted(set(found) - set(names))
    renamed = [chunk.dictionary.to_pylist() for chunk in labels.chunks]
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, pa.array([names.get(name, name) for name in values], pa.string()))
        for chunk, values in zip(labels.chunks, renamed, strict=True)
    ]
    return as_text(pa.chunked_array(chunks, _CODED)), unknown


def _first_bad(name: str, column: pa.ChunkedArray) -> str | None:
    """`row 7 is 'abc'`: slow, and only for an error."""
    for row, value in enumerate(column):
        try:
            as_type(name, pa.chunked_array([pa.array([value.as_py()])]))
        except pa.ArrowException:
            return f"row {row} is {value.as_py()!r}"
    return None


def _guess(name: str, options: Sequence[str]) -> str:
    """`, did you mean ...?`, or all there is."""
    lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f", did you mean `{lower[near[0]]}`?" if near else f"; there are {', '.join(options) or 'none'}"


def _advice(name: str) -> str:
    if name == "split":
        return 'name its source column, or give the constant split (such as "train") if all rows are of one'
    if name == "patient_id":
        return "name its source column; the one of slide_id if every slide is of another patient"
    if name == "patch_size":
        return "name its source column or give a constant: only the size of images can be looked up"
    return "name its source column" + ("" if name in ("x", "y") else " or give a constant")

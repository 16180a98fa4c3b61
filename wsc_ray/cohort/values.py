"""The rules for values in users' tables, the same for every table: which are missing, numbers or truth values.

| in the table | read as |
| --- | --- |
| empty, blanks, and texts that `pandas.read_csv` reads as missing (`NA`, `NaN`, `null`, `None`, ...); NaN among numbers | missing |
| `n.a.`, `-`, `--`, `?`, `.`, `...`, and a spreadsheet's errors (`#REF!`, `#DIV/0!`, ...); except `-` in a column with `+` | missing |
| `na`, `n/a`, `nan`, `null` in any capitals; but `none` and `NONE` stay | missing |
| blanks before and after a value | removed |
| a column of whole numbers with a decimal point (`1.0`, `0.0`), as pandas writes integers beside missing ones | `1`, `0` |
| booleans, and a column of labels that holds only `True` and `False` in any capitals | `true`, `false` |
| anything else | the same text: `007` stays `007` |
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.plain_yaml import shortened

# https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html, `na_values`
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"]
    + ["N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)
_MINUS = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2212")  # the hyphen, and dashes that editors put in its place
_PLACEHOLDERS = frozenset(
    ["--", "---", "?", "??", ".", "..", "...", "\u2026"] + ["#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"]
)
_IN_ANY_CAPITALS = frozenset(["na", "n.a.", "n/a", "#n/a", "<na>", "nan", "null"])
CODED = pa.dictionary(pa.int32(), pa.string())
DID_YOU_MEAN = ", did you mean "
_LISTED, _COMPARED = 30, 1000  # most options that a suggestion lists, and that it compares
_WHOLE = re.compile(r"(-?\d+)\.0+")
_TRUTHS = {"true", "false"}


def as_text(column: pa.ChunkedArray | pa.Array, *, label: bool = False) -> pa.ChunkedArray:
    """Return a column of any type as text by the rules above, dictionary-encoded in one chunk.

    Args:
        label: the column holds labels: the text `1.0` becomes `1`, too, and `True` becomes `true`.

    Raises:
        pa.ArrowException: values cannot be text, such as lists or bytes that are not UTF-8.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_float16(column.type):  # which Arrow can neither round nor write as text
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = _without_nan(column)
        if pc.all(pc.equal(pc.round(column), column)).as_py() is not False:
            column = column.cast(pa.int64())
    coded = column.cast(pa.string()).combine_chunks()
    coded = (coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded).dictionary_encode()
    texts = tidy(coded.dictionary.to_pylist(), label=label)
    unique = pa.array(texts, pa.string()).dictionary_encode()
    return pa.chunked_array([pa.DictionaryArray.from_arrays(unique.indices.take(coded.indices), unique.dictionary)])


def tidy(values: Iterable[str | None], *, label: bool = False) -> list[str | None]:
    """Return values by the rules above, None where one is missing; `values` are a whole column, or its distinct values."""
    stripped = [None if value is None else value.strip() for value in values]
    missing = MISSING | _PLACEHOLDERS | (frozenset() if "+" in stripped else _MINUS)
    texts = [None if text is None or text in missing or text.lower() in _IN_ANY_CAPITALS else text for text in stripped]
    if label:
        texts = [text and _WHOLE.sub(r"\1", text) if text and _WHOLE.fullmatch(text) else text for text in texts]
        lower = {text.lower() for text in texts if text is not None}
        if lower and lower <= _TRUTHS:
            texts = [text and text.lower() for text in texts]
    return texts


def as_number(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Return a column as numbers of a type; no value is rounded or cut, except a double that becomes a float32.

    Raises:
        pa.ArrowException: a value is not a number of this type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = as_text(column).cast(pa.string()).cast(pa.float64())
    if pa.types.is_floating(column.type):
        column = _without_nan(column)
    if pa.types.is_floating(wanted):
        return column.cast(wanted, safe=False)  # most doubles have no exact float32
    return column.cast(wanted)


def suggest(name: str, options: Sequence[str]) -> str:
    """Return `, did you mean ...?` with the most similar option, or a list of the first options."""
    lower = {option.lower(): option for option in options[:_COMPARED]}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    if near:
        return f"{DID_YOU_MEAN}`{lower[near[0]]}`?"
    more = f" and {len(options) - _LISTED:,} more" if len(options) > _LISTED else ""
    return f"; there are {', '.join(shortened(option) for option in options[:_LISTED]) or 'none'}{more}"


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    missing = pc.fill_null(pc.is_nan(column), False)
    return pc.if_else(missing, pa.scalar(None, column.type), column) if np.any(missing.to_numpy()) else column

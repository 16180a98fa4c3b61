"""How values of people's tables are read: what is missing, what is a number, what is true. One set of rules for every table.

| in the table | read as |
| --- | --- |
| empty, blanks, and what `pandas.read_csv` takes for missing (`NA`, `NaN`, `null`, `None`, ...); NaN in a column of numbers | missing |
| `na`, `n.a.`, `-`, `--`, `?`, `.`, and a spreadsheet's errors (`#REF!`, `#DIV/0!`, ...); but for `-` in a column that has `+` too | missing |
| surrounding blanks | taken off |
| a column of whole numbers with a decimal point (`1.0`, `0.0`), as pandas writes integers beside missing ones | `1`, `0` |
| booleans, and a column of labels that holds only `True` and `False` in any capitals | `true`, `false` |
| anything else | the text as it stands: `007` stays `007` |
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
_PLACEHOLDERS = frozenset(
    ["na", "Na", "n.a.", "N.A.", "-", "--", "---", "?", "??", "."]
    + ["#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"]
)
CODED = pa.dictionary(pa.int32(), pa.string())
_LISTED, _COMPARED = 30, 1000  # options that a suggestion lists, and looks through
_WHOLE = re.compile(r"(-?\d+)\.0+")
_TRUTHS = {"true", "false"}


def as_text(column: pa.ChunkedArray | pa.Array, *, label: bool = False) -> pa.ChunkedArray:
    """A column of any type as text by the rules above, dictionary-encoded in one chunk.

    Args:
        label: the column holds labels: the text `1.0` is `1` too, and `True` is `true`.

    Raises:
        pa.ArrowException: values that have no text, such as bytes that are not UTF-8 or lists.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
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
    """Texts by the rules above, None where a value is missing; `values` are all of a column, or all its different ones."""
    given = [None if value is None else value.strip() for value in values]
    missing = (MISSING | _PLACEHOLDERS) - ({"-"} if "+" in given else set())
    texts = [None if text in missing else text for text in given]
    if label:
        texts = [text and _WHOLE.sub(r"\1", text) if text and _WHOLE.fullmatch(text) else text for text in texts]
        known = {text.lower() for text in texts if text is not None}
        if known and known <= _TRUTHS:
            texts = [text and text.lower() for text in texts]
    return texts


def as_number(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """A column as numbers of a type; nothing is rounded or cut off, but for a float32 of a double.

    Raises:
        pa.ArrowException: a value that is no such number.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = as_text(column).cast(pa.string()).cast(pa.float64())
    if pa.types.is_floating(column.type):
        column = _without_nan(column)
    if pa.types.is_floating(wanted):
        return column.cast(wanted, safe=False)  # 0.5 as a double has no exact float32
    return column.cast(wanted)


def suggest(name: str, options: Sequence[str]) -> str:
    """`, did you mean ...?`, or all there is; of very many the first."""
    lower = {option.lower(): option for option in options[:_COMPARED]}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    if near:
        return f", did you mean `{lower[near[0]]}`?"
    more = f" and {len(options) - _LISTED:,} more" if len(options) > _LISTED else ""
    return f"; there are {', '.join(shortened(option) for option in options[:_LISTED]) or 'none'}{more}"


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    missing = pc.fill_null(pc.is_nan(column), False)
    return pc.if_else(missing, pa.scalar(None, column.type), column) if np.any(missing.to_numpy()) else column

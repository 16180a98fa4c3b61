"""The one reader of users' tables (CSV, TSV or Parquet): lists of slides, lists of images, tables to import, cohorts.

A text table is UTF-8 with a header and commas (tabs where its name ends in .tsv), and every line has as many values as
the header has names. Columns without a name, as spreadsheets leave them at the end, must be empty.
`wsc_ray.cohort.values` says what values mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from wsc_ray import storage
from wsc_ray.cohort.values import DID_YOU_MEAN, as_text, suggest
from wsc_ray.errors import DataError, ManifestError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
_SHOWN = 5  # most lines that a problem names
_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class UserTable:
    """A user's table.

    Attributes:
        source: its path or URI, as the user typed it.
        columns: name -> values, which in a text table are all text.
        rows: number of rows.
        lines: line of each row in a text file, (rows,) int64, from 1; None for Parquet.
    """

    source: str
    columns: Mapping[str, pa.ChunkedArray]
    rows: int
    lines: np.ndarray | None = None

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    def where(self, row: int) -> str:
        """Return the place of a row for messages: `line 3`, or `row 2` for a Parquet file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def texts(self, name: str, *, label: bool = False) -> list[str | None]:
        """Return a column as text, by the rules of `wsc_ray.cohort.values`.

        Raises:
            ManifestError: the column holds values that cannot be text, such as bytes or lists.
        """
        try:
            return as_text(self.columns[name], label=label).to_pylist()
        except pa.ArrowException as error:
            raise ManifestError(
                f"{self.source}: column `{name}` cannot be read as text: {str(error).splitlines()[0]}"
            ) from None


def read_user_table(source: str, *, columns: Sequence[str] | None = None, header: bool = True) -> UserTable:
    """Read a CSV, TSV or Parquet table.

    Args:
        source: a path or URI, whose ending says whether the table is text or Parquet.
        columns: read only these, which must exist; None: all.
        header: whether the first line of a text table names the columns; else their names are `0`, `1`, ...

    Raises:
        ManifestError: the table is missing or cannot be read, or lines have too many or too few values; the error names
            them.
    """
    return (
        read_text_table(source, columns=columns, header=header)
        if is_text_table(source)
        else _read_parquet(source, columns)
    )


def is_text_table(source: str) -> bool:
    """Return whether a table is CSV or TSV, by its name."""
    return str(source).lower().endswith(TEXT_SUFFIXES)


def choose_column(names: Sequence[str], wanted: str, aliases: Sequence[str] = ()) -> tuple[str | None, str]:
    """Return the column whose name is exactly `wanted` or an alias, and ""; else None and a hint at a similar name."""
    for name in (wanted, *aliases):
        if name in names:
            return name, ""
    for name in (wanted, *aliases):
        near = [other for other in names if other.strip().lower() == name.lower()]
        if near:
            return None, f"{DID_YOU_MEAN}`{near[0]}`?"
    return None, suggest(wanted, names)


def separator_of(source: str) -> str:
    return "\t" if ".tsv" in str(source).lower() else ","


def read_header(source: str) -> list[str]:
    """Return the names in the first line of a text table.

    Raises:
        ManifestError: see `read_user_table`.
    """
    return _names(source, _first_line(source), separator_of(source))


def read_text_table(source: str, *, columns: Sequence[str] | None = None, header: bool = True) -> UserTable:
    """Read a CSV or TSV table with any name; see `read_user_table`."""
    separator = separator_of(source)
    first = _first_line(source)
    names = _names(source, first, separator) if header else [str(i) for i in range(len(_split(first, separator)))]
    misfits: list[tuple[int, int]] = []  # line, and its number of values, of lines that do not fit the header
    skipped: list[int] = []

    def invalid(row: pacsv.InvalidRow) -> str:
        values = _split(row.text, separator)
        if row.text.strip(separator + " \r\n") == "":  # an empty line
            skipped.append(row.number)
        else:
            misfits.append((row.number, len(values)))
        return "skip"

    # Arrow gets indices as the names of columns, since names in a header may be empty or repeated.
    indices = [str(index) for index in range(len(names))]
    wanted = list(range(len(names))) if columns is None else [names.index(name) for name in columns]
    wanted += [index for index, name in enumerate(names) if not name and index not in wanted]
    try:
        filesystem, path = storage.filesystem(str(source))
        with filesystem.open_input_stream(path) as stream:
            table = pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(column_names=indices, skip_rows=int(header), use_threads=False),
                parse_options=pacsv.ParseOptions(
                    delimiter=separator,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=invalid,
                ),
                convert_options=pacsv.ConvertOptions(
                    include_columns=[indices[index] for index in wanted],
                    column_types=dict.fromkeys(indices, pa.string()),
                    strings_can_be_null=False,
                ),
            )
    except (OSError, pa.ArrowException, DataError) as error:
        raise ManifestError(f"{source} cannot be read as a table: {_reason(error)}") from None
    if misfits:
        named = ", ".join(f"line {line} ({count})" for line, count in misfits[:_SHOWN])
        more = f" and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise ManifestError(
            f"{source} has lines with another number of values than the {len(names)} columns ({', '.join(names)}): {named}{more}; put "
            "values that hold a comma into double quotes"
        )
    lines = _lines(table.num_rows, [*skipped], first=1 + int(header))
    for index in (index for index in wanted if not names[index]):
        filled = [row for row, value in enumerate(table.column(indices[index]).to_pylist()) if value and value.strip()]
        if filled:
            raise ManifestError(
                f"{source} has a value in a column without a name, in line {lines[filled[0]]}; name the column"
            )
    full = np.flatnonzero(~_empty(table))
    if len(full) < table.num_rows:
        table, lines = table.take(pa.array(full)), lines[full]
    return UserTable(
        str(source),
        {names[index]: table.column(indices[index]) for index in wanted if names[index]},
        table.num_rows,
        lines,
    )


def _lines(rows: int, skipped: Sequence[int], *, first: int) -> np.ndarray:
    """Return the line of each row that was read, given the lines that were skipped."""
    lines = np.arange(first, first + rows + len(skipped), dtype=np.int64)
    return np.setdiff1d(lines, np.asarray(skipped, dtype=np.int64), assume_unique=True)


def _empty(table: pa.Table) -> np.ndarray:
    """Return which rows are empty in all columns, (rows,) bool."""
    empty = np.ones(table.num_rows, dtype=bool)
    for column in table.columns:
        empty &= np.asarray([not value or not value.strip() for value in column.to_pylist()], dtype=bool)
        if not empty.any():
            break
    return empty


def _read_parquet(source: str, columns: Sequence[str] | None) -> UserTable:
    try:
        filesystem, path = storage.filesystem(str(source))
        with filesystem.open_input_file(path) as file:
            table = pq.read_table(file, columns=list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise ManifestError(f"{source} does not exist; give a CSV, TSV or Parquet table") from None
    except (OSError, pa.ArrowException, DataError) as error:
        raise ManifestError(f"{source} cannot be read as a Parquet table: {_reason(error)}") from None
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise ManifestError(f"{source} has several columns called {', '.join(twice)}")
    return UserTable(str(source), {name: table[name] for name in table.column_names}, table.num_rows)


def _first_line(source: str) -> str:
    try:
        filesystem, path = storage.filesystem(str(source))
        with filesystem.open_input_stream(path) as stream:
            start = stream.read(_HEADER_BYTES)
    except FileNotFoundError:
        raise ManifestError(f"{source} does not exist; give a CSV, TSV or Parquet table") from None
    except (OSError, DataError) as error:
        raise ManifestError(f"{source} cannot be read: {_reason(error)}") from None
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ManifestError(f"{source} is UTF-16 text; save it as UTF-8 (a spreadsheet's `CSV UTF-8`)")
    if b"\0" in start:
        raise ManifestError(
            f"{source} is not a text table; give CSV or TSV in UTF-8, or Parquet whose name ends in .parquet"
        )
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut = len(start) == _HEADER_BYTES and error.end >= len(start) - 4  # reading stopped inside a character
        if not cut:
            raise ManifestError(f"{source} is not UTF-8 text; save it as UTF-8 (a spreadsheet's `CSV UTF-8`)") from None
        text = start.decode("utf-8-sig", errors="ignore")
    line, _, _ = text.replace("\r\n", "\n").replace("\r", "\n").partition("\n")
    if not text.strip():
        raise ManifestError(f"{source} is empty")
    return line


def _names(source: str, line: str, separator: str) -> list[str]:
    names = [name.strip() for name in _split(line, separator)]
    others = {";": "semicolon", "\t": "tab", "|": "bar", ",": "comma"}
    del others[separator]
    counts = [(line.count(mark), word) for mark, word in others.items() if mark in line]
    if len(names) == 1 and counts:
        raise ManifestError(
            f"{source} looks {max(counts)[1]}-separated; save it with commas as .csv, or with tabs as .tsv"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ManifestError(f"{source} has several columns called {', '.join(twice)}")
    return names


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(line), delimiter=separator), [])


def _reason(error: Any) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]

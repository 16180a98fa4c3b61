"""One reader of people's tables: lists of slides, lists of images, tables to import, cohorts. CSV, TSV or Parquet.

A text table has a header, commas (tabs where its name ends in .tsv), UTF-8, and in every line as many values as the
header has; columns without a name, as spreadsheets leave them at the end, have to be empty. What a value means is `wsc_ray.cohort.values`.
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
from wsc_ray.cohort.values import as_text, suggest
from wsc_ray.errors import DataError, ManifestError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
_SHOWN = 5  # lines that a problem names
_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class UserTable:
    """A table as it was read.

    Attributes:
        source: its path or URI, as given.
        columns: name -> values; of a text table all are text, with None where the line has nothing.
        rows: how many.
        lines: of each row in a text file, (rows,) int64, from 1; None for Parquet.
    """

    source: str
    columns: Mapping[str, pa.ChunkedArray]
    rows: int
    lines: np.ndarray | None = None

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    def where(self, row: int) -> str:
        """Where people find a row: `line 3`, or `row 2` of a Parquet file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def texts(self, name: str, *, label: bool = False) -> list[str | None]:
        """A column as text, by the rules of `wsc_ray.cohort.values`.

        Raises:
            ManifestError: the column holds bytes, lists or other things that are no text.
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
        source: a path or URI; by its ending Parquet, or text.
        columns: read only these, which have to be there; None: all.
        header: whether the first line of a text table names the columns; otherwise they are `0`, `1`, ...

    Raises:
        ManifestError: it is missing, not such a table, or lines have too many or too few values; they are named.
    """
    return (
        read_text_table(source, columns=columns, header=header)
        if is_text_table(source)
        else _read_parquet(source, columns)
    )


def is_text_table(source: str) -> bool:
    """Whether a table is CSV or TSV, by its name."""
    return str(source).lower().endswith(TEXT_SUFFIXES)


def choose_column(names: Sequence[str], wanted: str, aliases: Sequence[str] = ()) -> tuple[str | None, str]:
    """The column that is called `wanted` or by one of its other names, exactly; else None and a hint at a near one."""
    for name in (wanted, *aliases):
        if name in names:
            return name, ""
    for name in (wanted, *aliases):
        near = [each for each in names if each.strip().lower() == name.lower()]
        if near:
            return None, f", did you mean `{near[0]}`?"
    return None, suggest(wanted, names)


def separator_of(source: str) -> str:
    return "\t" if ".tsv" in str(source).lower() else ","


def read_header(source: str) -> list[str]:
    """The names in the first line of a text table.

    Raises:
        ManifestError: as `read_user_table`.
    """
    return _names(source, _first_line(source), separator_of(source))


def read_text_table(source: str, *, columns: Sequence[str] | None = None, header: bool = True) -> UserTable:
    """Read a CSV or TSV table, whatever its name; see `read_user_table`."""
    separator = separator_of(source)
    first = _first_line(source)
    names = _names(source, first, separator) if header else [str(i) for i in range(len(_split(first, separator)))]
    surplus: list[tuple[int, int]] = []  # line and number of values of lines that do not fit
    skipped: list[int] = []

    def invalid(row: pacsv.InvalidRow) -> str:
        values = _split(row.text, separator)
        if row.text.strip(separator + " \r\n") == "":  # an empty line
            skipped.append(row.number)
        else:
            surplus.append((row.number, len(values)))
        return "skip"

    # Names as they are given to Arrow are positions: a header's may be empty or have been there before.
    places = [str(place) for place in range(len(names))]
    wanted = list(range(len(names))) if columns is None else [names.index(name) for name in columns]
    wanted += [place for place, name in enumerate(names) if not name and place not in wanted]
    try:
        filesystem, path = storage.filesystem(str(source))
        with filesystem.open_input_stream(path) as stream:
            table = pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(column_names=places, skip_rows=int(header), use_threads=False),
                parse_options=pacsv.ParseOptions(
                    delimiter=separator,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=invalid,
                ),
                convert_options=pacsv.ConvertOptions(
                    include_columns=[places[place] for place in wanted],
                    column_types=dict.fromkeys(places, pa.string()),
                    strings_can_be_null=False,
                ),
            )
    except (OSError, pa.ArrowException, DataError) as error:
        raise ManifestError(f"{source} cannot be read as a table: {_reason(error)}") from None
    if surplus:
        told = ", ".join(f"line {line} ({count})" for line, count in surplus[:_SHOWN])
        more = f" and {len(surplus) - _SHOWN} more" if len(surplus) > _SHOWN else ""
        raise ManifestError(
            f"{source} has lines with another number of values than the {len(names)} columns ({', '.join(names)}): {told}{more}; put "
            "values that hold a comma into double quotes"
        )
    lines = _lines(table.num_rows, [*skipped], first=1 + int(header))
    for place in (place for place in wanted if not names[place]):
        nameless = [row for row, value in enumerate(table.column(places[place]).to_pylist()) if value and value.strip()]
        if nameless:
            raise ManifestError(
                f"{source} has a value in a column without a name, in line {lines[nameless[0]]}; name the column"
            )
    full = np.flatnonzero(~_empty(table))
    if len(full) < table.num_rows:
        table, lines = table.take(pa.array(full)), lines[full]
    return UserTable(
        str(source),
        {names[place]: table.column(places[place]) for place in wanted if names[place]},
        table.num_rows,
        lines,
    )


def _lines(rows: int, skipped: Sequence[int], *, first: int) -> np.ndarray:
    """The line of each row that was read, where those in `skipped` were left out."""
    lines = np.arange(first, first + rows + len(skipped), dtype=np.int64)
    return np.setdiff1d(lines, np.asarray(skipped, dtype=np.int64), assume_unique=True)


def _empty(table: pa.Table) -> np.ndarray:
    """Which rows have nothing in any column, (rows,) bool."""
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
        raise ManifestError(f"{source} is no text table; give CSV or TSV in UTF-8, or Parquet with a name in .parquet")
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut = len(start) == _HEADER_BYTES and error.end >= len(start) - 4  # by us, in the middle of a letter
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
    found = [(line.count(mark), word) for mark, word in others.items() if mark in line]
    if len(names) == 1 and found:
        raise ManifestError(
            f"{source} looks {max(found)[1]}-separated; save it with commas as .csv, or with tabs as .tsv"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ManifestError(f"{source} has several columns called {', '.join(twice)}")
    return names


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(line), delimiter=separator), [])


def _reason(error: Any) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]

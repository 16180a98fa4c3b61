"""The runs of a file: neighbouring rows of one row group that belong to one slide.

The writer keeps them in the footer's metadata as JSON: `{"slides": [slide, ...], "groups": [[0, 100, 1, 156], ...]}`,
where each row group lists pairs of an index into `slides` and a number of rows. (In format 1 an entry of `slides` is a
pair of slide and patient.) In a file without this metadata, statistics may show that every row group belongs to one
slide; else the column `slide_id` must be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.cohort.values import tidy
from wsc_ray.errors import ManifestError
from wsc_ray.manifest.schema import RUNS_KEY

GroupRuns = list[tuple[str | None, int]]  # (slide, rows)


@dataclass(frozen=True, eq=False, slots=True)
class FileRuns:
    """The runs of a file.

    Attributes:
        group, rows, slide: (runs,) int64: row group, number of rows, and slide as an index into `slides`.
        slides: ids of the slides.
    """

    group: np.ndarray
    rows: np.ndarray
    slide: np.ndarray
    slides: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of a manifest, in its order; arrays are (runs,) int64.

    Attributes:
        group: row group of each run, an index into `Manifest.row_groups`.
        start: first row of each run inside its row group.
        rows: number of rows of each run.
        slide: slide of each run, an index into `slides`.
        slides: ids of the slides, in the order of first appearance.
    """

    group: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    slide: np.ndarray
    slides: tuple[str, ...]

    def patches(self) -> dict[str, int]:
        """Return the number of rows of each slide."""
        return dict(
            zip(self.slides, np.bincount(self.slide, self.rows, len(self.slides)).astype(int).tolist(), strict=True)
        )


def find_runs(table: pa.Table) -> GroupRuns:
    """Return the runs of a row group, from its rows."""
    column = table["slide_id"].combine_chunks()
    codes = column.dictionary_encode(null_encoding="encode").indices.to_numpy()
    starts = np.flatnonzero(np.concatenate([[table.num_rows > 0], np.diff(codes) != 0]))
    slides = column.take(pa.array(starts)).to_pylist()
    return list(zip(slides, np.diff([*starts, table.num_rows]).tolist(), strict=True))


def encode_runs(groups: Iterable[GroupRuns]) -> bytes:
    """Return the runs of a file's row groups as the JSON for the file's metadata."""
    numbers: dict[str | None, int] = {}
    flat = [
        [value for slide, rows in runs for value in (numbers.setdefault(slide, len(numbers)), rows)] for runs in groups
    ]
    return json.dumps({"slides": list(numbers), "groups": flat}, separators=(",", ":")).encode()


def read_runs(metadata: pq.FileMetaData, path: str, *, statistics: bool = True) -> FileRuns | None:
    """Return the runs of a file from its footer; None where the footer does not hold them.

    Raises:
        ManifestError: the footer's runs do not fit its row groups.
    """
    encoded = (metadata.metadata or {}).get(RUNS_KEY)
    if encoded is None:
        return _from_statistics(metadata) if statistics else None
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    try:
        values = json.loads(encoded)
        flat = np.array(list(chain.from_iterable(values["groups"])), dtype=np.int64).reshape(-1, 2)
        group = np.repeat(np.arange(len(values["groups"])), [len(runs) // 2 for runs in values["groups"]])
        slides = tuple(entry if isinstance(entry, str) else str(entry[0]) for entry in values["slides"])
        "".join(slides).encode()  # a ValueError for half a character, which JSON can hold and no table
        whole = np.bincount(group, weights=flat[:, 1], minlength=len(sizes)).tolist() == sizes
        whole = whole and bool(((flat[:, 0] >= 0) & (flat[:, 0] < len(slides)) & (flat[:, 1] > 0)).all())
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError):
        whole = False
    if not whole:
        raise ManifestError(f"{path} is damaged: its list of slides does not fit its rows; import its source anew")
    return FileRuns(group, flat[:, 1], flat[:, 0], slides)


def runs_of_rows(slides: pa.ChunkedArray, sizes: Sequence[int]) -> FileRuns:
    """Return the runs of a file from its column `slide_id`.

    Args:
        slides: the column, dictionary-encoded.
        sizes: number of rows of each row group.
    """
    column = slides.unify_dictionaries().combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    group = np.repeat(np.arange(len(sizes)), sizes)
    begins = np.ones(len(codes), dtype=bool)
    begins[1:] = (np.diff(codes) != 0) | (np.diff(group) != 0)
    starts = np.flatnonzero(begins)
    rows = np.diff(np.append(starts, len(codes)))
    return FileRuns(group[starts], rows, codes[starts], tuple(column.dictionary.to_pylist()))


def join_runs(files: Sequence[FileRuns], groups: Sequence[int]) -> Runs:
    """Return the runs of a manifest from those of its files; `groups` are the numbers of row groups of each file."""
    firsts = np.cumsum(groups) - groups
    group = np.concatenate([runs.group + first for runs, first in zip(files, firsts, strict=True)])
    rows = np.concatenate([runs.rows for runs in files])
    ends = np.cumsum(rows)
    begins = np.searchsorted(group, group, side="left")  # the first run of the same row group
    numbers: dict[str, int] = {}
    slide = np.array(
        [numbers.setdefault(runs.slides[code], len(numbers)) for runs in files for code in runs.slide.tolist()],
        dtype=np.int64,
    )
    return Runs(group, ends - rows - (ends - rows)[begins], rows, slide, tuple(numbers))


def only_value(group: pq.RowGroupMetaData, name: str) -> str | None:
    """Return the value that all rows of a row group have in a column, by its statistics; None where they may differ."""
    columns = (group.column(index) for index in range(group.num_columns))
    statistics = next((column.statistics for column in columns if column.path_in_schema == name), None)
    if statistics is None or not statistics.has_min_max or (statistics.has_null_count and statistics.null_count):
        return None
    low, high = statistics.min, statistics.max
    if low != high:
        return None
    return low.decode(errors="replace") if isinstance(low, bytes) else str(low)


def _from_statistics(metadata: pq.FileMetaData) -> FileRuns | None:
    columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
    if not any(column.path == "slide_id" and column.logical_type.type == "STRING" for column in columns):
        return None  # `1.0`, a time or bytes become text by rules that need the column
    group, rows, slides = [], [], []
    for number in range(metadata.num_row_groups):
        size = metadata.row_group(number).num_rows
        if not size:
            continue
        slide = only_value(metadata.row_group(number), "slide_id")
        if slide is None:
            return None
        group.append(number)
        rows.append(size)
        slides.append(slide)
    texts = tidy(slides)  # as the column itself is read: without blanks, and None for what means a missing value
    names = {slide: code for code, slide in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    if len(names) < len(set(texts)):
        return None
    codes = [names[text] for text in texts if text is not None]
    return FileRuns(np.array(group, np.int64), np.array(rows, np.int64), np.array(codes, np.int64), tuple(names))

"""Which slide and patient each row is of, told by a file's footer: runs of neighbouring rows that share both.

The writer keeps them in the file's metadata as JSON: `{"slides": [[slide, patient], ...], "groups": [[0, 100, 1, 156],
...]}`, where each row group lists pairs of an index into `slides` and a number of rows. A file without it still tells
where its statistics say that a row group is of one slide and patient.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.errors import ManifestError
from wsc_ray.manifest.footers import only_value
from wsc_ray.manifest.schema import RUNS_KEY

OWNERS = ("slide_id", "patient_id")
GroupRuns = list[tuple[tuple[str | None, str | None], int]]  # ((slide, patient), rows)


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs in the manifest's order; all (runs,) int64.

    Attributes:
        group: row group, an index into `Manifest.row_groups`.
        start: first row inside it.
        rows: neighbouring rows.
        owners: column -> a number for each of its values, in order of first appearance.
    """

    group: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    owners: dict[str, np.ndarray]


def find_runs(table: pa.Table) -> GroupRuns:
    """The runs of a row group."""
    columns = [table[name].combine_chunks() for name in OWNERS]
    codes = [column.dictionary_encode(null_encoding="encode").indices.to_numpy() for column in columns]
    changes = np.any([np.diff(code) != 0 for code in codes], axis=0)
    starts = np.flatnonzero(np.concatenate([[table.num_rows > 0], changes]))
    owners = zip(*(column.take(pa.array(starts)).to_pylist() for column in columns), strict=True)
    return list(zip(owners, np.diff([*starts, table.num_rows]).tolist(), strict=True))


def encode_runs(groups: Iterable[GroupRuns]) -> bytes:
    """The runs of a file's row groups, as its metadata keeps them."""
    numbers: dict[tuple[str | None, str | None], int] = {}
    flat = [
        [value for owner, rows in runs for value in (numbers.setdefault(owner, len(numbers)), rows)] for runs in groups
    ]
    return json.dumps({"slides": list(numbers), "groups": flat}, separators=(",", ":")).encode()


def read_runs(metadata: pq.FileMetaData, path: str, columns: Sequence[str]) -> tuple[np.ndarray, dict[str, list]]:
    """The runs of a file, from its footer.

    Args:
        columns: among `OWNERS`.

    Returns:
        (runs, 2) int64, row group and rows, and for each of `columns` the value of each run.

    Raises:
        ManifestError: the footer does not tell them.
    """
    told = (metadata.metadata or {}).get(RUNS_KEY)
    if told is None:
        return _from_statistics(metadata, path, columns)
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    try:
        values = json.loads(told)
        flat = np.array(list(chain.from_iterable(values["groups"])), dtype=np.int64).reshape(-1, 2)
        group = np.repeat(np.arange(len(values["groups"])), [len(runs) // 2 for runs in values["groups"]])
        owners = {name: [values["slides"][code][OWNERS.index(name)] for code in flat[:, 0]] for name in columns}
        whole = np.bincount(group, weights=flat[:, 1], minlength=len(sizes)).tolist() == sizes
    except (ValueError, TypeError, LookupError):
        whole = False
    if not whole:
        raise ManifestError(f"{path} says of its slides what its rows do not; import its source anew")
    return np.stack([group, flat[:, 1]], axis=1), owners


def join_runs(files: Sequence[tuple[np.ndarray, dict[str, list]]], groups: Sequence[int]) -> Runs:
    """The runs of a manifest from those of its files, which have `groups` row groups each."""
    firsts = np.cumsum(groups) - groups
    group = np.concatenate([found[:, 0] + first for (found, _), first in zip(files, firsts, strict=True)])
    rows = np.concatenate([found[:, 1] for found, _ in files])
    ends = np.cumsum(rows)
    begins = np.searchsorted(group, group, side="left")  # the first run of the same row group
    owners = {}
    for name in files[0][1]:
        numbers: dict[str, int] = {}
        values = chain.from_iterable(file[name] for _, file in files)
        owners[name] = np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
    return Runs(group, ends - rows - (ends - rows)[begins], rows, owners)


def _from_statistics(
    metadata: pq.FileMetaData, path: str, columns: Sequence[str]
) -> tuple[np.ndarray, dict[str, list]]:
    places = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
    rows, owners = [], {name: [] for name in columns}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows.append((number, group.num_rows))
        for name in columns:
            value = only_value(group, places.get(name))
            if value is None and group.num_rows:
                raise ManifestError(
                    f"row group {number} of {path} does not tell by its footer which {name} its rows are of; "
                    "`wsc-ray manifest import` writes it anew so that it does, or set stream.by to patch"
                )
            owners[name].append(value)
    return np.array(rows, dtype=np.int64).reshape(-1, 2), owners

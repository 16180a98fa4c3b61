"""Lay out and write a manifest: rows in the order for streaming, divided into row groups and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

import wsc_ray
from wsc_ray.manifest.problems import Codes
from wsc_ray.manifest.runs import encode_runs, find_runs
from wsc_ray.manifest.schema import (
    CHECKSUM_KEY,
    CREATOR_KEY,
    DIGEST_KEY,
    FORMAT_KEY,
    FORMAT_VERSION,
    PART_KEY,
    RUNS_KEY,
    footer_checksum,
    hash_rows,
)

ROW_GROUP_ROWS = 128
FILE_ROWS = 16_384

Span = tuple[int, int]  # [start, stop) in the order of rows


def order_rows(split: Codes, label: Codes, slide: Codes, seed: int) -> np.ndarray:
    """Return the order in which rows are written, (n,) int64: by split, label and slide, then as in the source.

    Slides are ordered by a hash of `seed` and their id, so that they are shuffled in the same way on every machine.
    """
    ranks = _ranks([hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for name in slide.names])
    keys = (ranks[slide.codes], _ranks(label.names)[label.codes], _ranks(split.names)[split.codes])
    return np.lexsort(keys)  # the last key counts most; stable, so that a slide's rows keep the source's order


def divide(split: np.ndarray, label: np.ndarray, row_group_rows: int) -> list[Span]:
    """Return row groups: spans of at most `row_group_rows` rows, none with two splits or two labels.

    Args:
        split, label: (n,) codes, in the order in which rows are written.
    """
    if not len(split):
        return []
    borders = 1 + np.flatnonzero((np.diff(split) != 0) | (np.diff(label) != 0))
    edges = [0, *borders.tolist(), len(split)]
    return [
        (start, min(start + row_group_rows, last))
        for first, last in pairwise(edges)
        for start in range(first, last, row_group_rows)
    ]


def pack(groups: list[Span], file_rows: int) -> list[list[Span]]:
    """Return files: neighbouring row groups of at most `file_rows` rows together (or one row group)."""
    files: list[list[Span]] = []
    for start, stop in groups:
        if not files or stop - files[-1][0][0] > file_rows:
            files.append([])
        files[-1].append((start, stop))
    return files


def file_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def write_file(
    filesystem: fs.FileSystem,
    path: str,
    schema: pa.Schema,
    groups: Iterable[pa.Table],
    *,
    part: int = 0,
    parts: int = 0,
) -> str:
    """Write one Parquet file of a manifest, with a row group for each table, and return the digest of its rows.

    Args:
        schema: see `schema_for`.
        groups: the tables, each taken when it is written.
        part, parts: this file's number, from 1, and the number of the manifest's files; 0 where these are not known.
    """
    digest = hashlib.sha256()
    images = "image" in schema.names
    metadata: dict[bytes, str | bytes] = {
        FORMAT_KEY: str(FORMAT_VERSION),
        CREATOR_KEY: f"wsc-ray {wsc_ray.__version__}",
    }
    if parts:
        metadata[PART_KEY] = f"{part}/{parts}"
    rest = [name for name in schema.names if name != "image"]
    runs = []
    with pq.ParquetWriter(
        path,
        schema,
        filesystem=filesystem,
        # Images are compressed already and all different, and statistics of them are of no use.
        compression={name: "none" if name == "image" else "zstd" for name in schema.names},
        use_dictionary=[name for name in rest if not pa.types.is_floating(schema.field(name).type)] if images else True,
        write_statistics=rest,
        write_page_checksum=True,  # `Manifest.read_group` checks it
    ) as writer:
        for table in groups:
            hash_rows(digest, table)
            runs.append(find_runs(table))
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
        metadata[RUNS_KEY] = encode_runs(runs)
        metadata[DIGEST_KEY] = digest.hexdigest()
        writer.add_key_value_metadata({**metadata, CHECKSUM_KEY: footer_checksum(schema, metadata)})
    return digest.hexdigest()


def _ranks(names: list[str]) -> np.ndarray:
    """Return each name's rank in sorted order, (names,) int64."""
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=lambda index: names[index])] = np.arange(len(names))
    return ranks

"""The record of the batches that the model was trained on: which patches, in which order, with which views.

Each worker writes a Parquet file for the steps between two checkpoints, before the second is reported. A run that
resumes from a checkpoint first deletes the files of later steps, so that the files hold each step once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.errors import RunFolderError
from wsc_ray.files import read_table, write_table
from wsc_ray.storage import AnyPath

SAMPLES = "samples"  # in the run folder
SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("position", pa.int64()),
        ("slide_id", pa.string()),
        ("x", pa.int64()),
        ("y", pa.int64()),
        ("parameters", pa.list_(pa.float32())),  # those of the first view, then those of the second
    ]
)


class Recorder:
    """One worker's record, kept in memory until `save`."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        """Add a batch that goes to the model, with the columns that `read_window` yields."""
        columns = {name: batch[name] for name in SCHEMA.names if name != "parameters"}
        parameters = batch["parameters"].reshape(len(batch["step"]), -1)
        self._tables.append(pa.table({**columns, "parameters": list(parameters)}, schema=SCHEMA))

    def save(self, folder: AnyPath, rank: int) -> None:
        """Write the batches since the last call into a run folder."""
        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        write_table(folder / SAMPLES / f"{table['step'][0].as_py():09d}-{rank:05d}.parquet", table)
        self._tables = []


def truncate_samples(folder: AnyPath, step: int) -> None:
    """Delete the record of `step` and later ones from a run folder."""
    for first, files in _by_first_step(folder):
        for file in files if first >= step else ():
            file.unlink()


def samples_digest(folder: AnyPath) -> str:
    """Return the SHA-256 (hex) of a run folder's record, which the numbers of workers and checkpoints do not change.

    It covers slide, x, y and parameters of every patch, by step and position in the global batch. Where files overlap,
    the later ones count.
    """
    digest = hashlib.sha256()
    files = list(_by_first_step(folder))
    ends = [*(first for first, _ in files[1:]), np.iinfo(np.int64).max][: len(files)]
    for (_, parts), end in zip(files, ends, strict=True):
        table = pa.concat_tables([_read(part) for part in parts])
        table = table.filter(pc.less(table["step"], end))
        for row in table.sort_by([("step", "ascending"), ("position", "ascending")]).to_pylist():
            digest.update(f"{row['slide_id']}\0{row['x']}\0{row['y']}\0".encode())
            digest.update(np.array(row["parameters"], "<f4").tobytes())
    return digest.hexdigest()


def _read(file: AnyPath) -> pa.Table:
    try:
        return read_table(file, SCHEMA)
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{file} cannot be read: {error}; without it the record has no digest: set stream.record to false, or run anew"
        ) from None


def _by_first_step(folder: AnyPath) -> Iterator[tuple[int, list[AnyPath]]]:
    files: list[AnyPath] = sorted((folder / SAMPLES).glob("*.parquet"))  # names begin with the step, in nine digits
    for first, parts in groupby(files, key=lambda file: int(file.name.partition("-")[0])):
        yield first, list(parts)

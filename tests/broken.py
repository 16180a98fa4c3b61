"""Manifests with damaged images, and which ones they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.commands import manifest_import

ROW_GROUP_ROWS = 16


def several(table: pa.Table, times: int) -> pa.Table:
    """A cohort `times` as large: the same slides under other names."""
    copies = []
    for number in range(times):
        copy = table
        for name in ("slide_id", "patient_id"):
            values = pa.array([f"{value}-{number}" for value in table[name].to_pylist()])
            copy = copy.set_column(copy.schema.get_field_index(name), name, values)
        copies.append(copy)
    return pa.concat_tables(copies)


def damaged(table: pa.Table, rows: list[int]) -> pa.Table:
    """Images cut short or of no format, in turn, at these rows; empty ones are not imported."""
    images = table["image"].to_pylist()
    for number, row in enumerate(rows):
        images[row] = (images[row][: len(images[row]) // 3], b"no image")[number % 2]
    return table.set_column(table.schema.get_field_index("image"), "image", pa.array(images))


def random_rows(table: pa.Table, share: float, split: str = "train") -> list[int]:
    """That share of the rows of a split, the same ones each time."""
    rows = np.flatnonzero(np.array(table["split"].to_pylist()) == split)
    return sorted(np.random.default_rng(0).choice(rows, round(share * len(rows)), replace=False).tolist())


def names(table: pa.Table, rows: list[int] | None = None) -> set[tuple[str, int, int]]:
    """Slide, x and y of rows."""
    some = table.select(["slide_id", "x", "y"])
    return {tuple(row.values()) for row in (some if rows is None else some.take(rows)).to_pylist()}


def import_table(table: pa.Table, folder: Path, out: str | Path | None = None, *, link: bool = False) -> Path | str:
    """Make it a manifest, as the `manifest` fixture is made; by default `folder/manifest`."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "raw.parquet")
    out = folder / "manifest" if out is None else out
    manifest_import(
        source=folder / "raw.parquet",
        out=out,
        columns={"label": "slide_label"},
        constants={"patch_size": 64},
        label_names={"0": "negative", "1": "positive"},
        row_group_rows=ROW_GROUP_ROWS,
        link=link,
    )
    return out

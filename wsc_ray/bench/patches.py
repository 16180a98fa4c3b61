"""Synthetic patches for a benchmark that is given no manifest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsc_ray.demo.cohort import write_cohort
from wsc_ray.manifest.importing import import_manifest


@dataclass(frozen=True)
class DrawnSizes:
    """The sizes of a synthetic cohort.

    Args:
        slides, per_slide, patch: number of training slides, number of patches per slide, side of a patch in px.
        copies: how many times the manifest holds each slide, under different names. With few row groups a window would read all of
            them, and never a row that it does not use.
    """

    slides: int
    per_slide: int
    patch: int
    copies: int


FULL = DrawnSizes(slides=64, per_slide=64, patch=224, copies=8)
QUICK = DrawnSizes(slides=4, per_slide=16, patch=32, copies=1)  # to check that a benchmark works


def drawn_manifest(folder: Path, sizes: DrawnSizes) -> Path:
    """Return a manifest of synthetic JPEG patches (quality 90) in `folder`.

    It is made unless an earlier benchmark has made it.
    """
    name = f"patches-{sizes.slides}x{sizes.per_slide}x{sizes.copies}-{sizes.patch}px"
    manifest, raw = folder / name, folder / f"{name}-raw"
    if manifest.exists():
        return manifest
    shutil.rmtree(raw, ignore_errors=True)
    table = write_cohort(
        raw, slides=(sizes.slides, 2, 2), patches_per_slide=sizes.per_slide, patch_size=sizes.patch, seed=0
    )
    _multiply(table, raw / "copies", sizes.copies)
    import_manifest(
        source=raw / "copies",
        out=manifest,
        columns={"label": "slide_label"},
        label_names={"0": "negative", "1": "positive"},
    )
    shutil.rmtree(raw)
    return manifest


def _multiply(table: Path, folder: Path, copies: int) -> None:
    """Write copies of the patches as slides of other patients, one file per copy."""
    folder.mkdir()
    drawn = pq.read_table(table)
    for copy in range(copies):
        renamed = drawn
        for column in ("slide_id", "patient_id"):
            names = pc.binary_join_element_wise(drawn[column], pa.scalar(str(copy)), "-")
            renamed = renamed.set_column(renamed.column_names.index(column), column, names)
        pq.write_table(renamed, folder / f"copy-{copy}.parquet")

"""The patches that every contender gets: a manifest that the benchmark draws for itself, and its encoded images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsc_ray.bench.data.sizes import Sizes
from wsc_ray.demo.cohort import write_cohort
from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.importing import import_manifest
from wsc_ray.pixels import PixelSource, Unreadable


def drawn_manifest(folder: Path, sizes: Sizes) -> Path:
    """A manifest of drawn JPEG patches (quality 90) in `folder`, made unless an earlier benchmark has left it there."""
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
    """The same patches as slides of other patients, a file a copy."""
    folder.mkdir()
    drawn = pq.read_table(table)
    for copy in range(copies):
        renamed = drawn
        for column in ("slide_id", "patient_id"):
            names = pc.binary_join_element_wise(drawn[column], pa.scalar(str(copy)), "-")
            renamed = renamed.set_column(renamed.column_names.index(column), column, names)
        pq.write_table(renamed, folder / f"copy-{copy}.parquet")


def encoded_images(uri: str, split: str, count: int) -> list[bytes]:
    """Up to `count` encoded images of a split, whole row groups from all over the manifest.

    Raises:
        DataError: an image that cannot be read.
    """
    manifest = open_manifest(uri)
    cohort = manifest.cohort()
    mine = {slide for slide, of in zip(cohort.texts("slide_id"), cohort.texts("split"), strict=True) if of == split}
    runs = manifest.runs()
    numbers = np.unique(runs.group[np.isin(runs.slide, [i for i, name in enumerate(runs.slides) if name in mine])])
    groups = [manifest.row_groups[number] for number in numbers]
    rows = sum(group.rows for group in groups)
    source = PixelSource([manifest.pixels], manifest.folder)
    images: list[bytes] = []
    for group in groups[:: max(1, rows // count)]:
        patches = manifest.read_group(group.file, group.row_group, ["slide_id", *source.columns]).to_pylist()
        for image in source.fetch([patch for patch in patches if patch["slide_id"] in mine]):
            if isinstance(image, Unreadable):
                raise DataError(image.reason)
            images.append(image)
    return images[:count]

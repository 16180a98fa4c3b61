"""The same patches of the same slides in three manifests: rows that point into slides, lossless patches, and JPEGs."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.manifest.schema import schema_for
from wsc_ray.manifest.write import write_file
from wsc_ray.slides.opening import open_slide
from wsc_ray.tiling.ray_each import each
from wsc_ray.tiling.run import tile_slides

MPP = 0.5  # um/px that every slide is taken to have, so that everybody reads level 0 as it is


@dataclass(frozen=True)
class Manifests:
    """Folders of manifests with the same rows in the same order."""

    linked: Path
    lossless: Path
    jpeg: Path


def make_manifests(folder: Path, slides: Sequence[Path], patch: int) -> Manifests:
    """Return manifests of the slides' tissue in `folder`, made unless an earlier benchmark has made them; Ray must run.

    Slides are negative and positive in turn, all of the training split.

    Raises:
        UserError: a slide that cannot be read, or the folder holds manifests of other slides.
    """
    listed = _write_list(folder / "slides.csv", slides)
    options = {"slides": listed, "mpp": MPP, "patch_size": patch, "tracking": f"sqlite:///{folder / 'mlflow.db'}"}
    linked, jpeg = folder / "linked", folder / "jpeg"
    tile_slides(out=linked, link=True, **options)
    tile_slides(out=jpeg, **options)
    lossless = folder / f"lossless-{open_manifest(str(linked)).digest[:12]}"
    if not lossless.exists():
        _embed(linked, lossless)
    return Manifests(linked, lossless, jpeg)


def bytes_of(manifest: Path) -> int:
    """Bytes of a manifest's patches."""
    return sum(path.stat().st_size for path in (manifest / PATCHES).glob("*.parquet"))


def _write_list(path: Path, slides: Sequence[Path]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "slide_id", "label", "split", "mpp"))
        for number, slide in enumerate(slides):
            writer.writerow((slide, slide.stem, ("negative", "positive")[number % 2], "train", MPP))
    return path


def _embed(linked: Path, out: Path) -> None:
    """Copy a manifest of rows that point into slides, and put the pixels in, as OpenSlide reads them."""
    unfinished = out.with_name(f"{out.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(linked, unfinished)
    files = sorted((unfinished / PATCHES).glob("*.parquet"))
    for _, result in each(_embed_file, [(path, number, len(files)) for number, path in enumerate(files, start=1)]):
        if isinstance(result, DataError):
            raise result
    unfinished.rename(out)


def _embed_file(path: Path, part: int, parts: int) -> None:
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    names = [name for name in groups[0].column_names if name != "slide_uri"] + ["image"]
    tables = (group.drop_columns("slide_uri").append_column("image", _pngs(group)) for group in groups)
    write_file(fs.LocalFileSystem(), str(path), schema_for(names), tables, part=part, parts=parts)


def _pngs(group: pa.Table) -> pa.Array:
    """Return the patches of rows that point into slides as PNGs, which lose nothing."""
    rows = group.to_pylist()
    slides = {uri: open_slide(Path(uri), "openslide") for uri in {row["slide_uri"] for row in rows}}
    images = [
        _png(slides[row["slide_uri"]].read(row["x"], row["y"], row["level"], row["patch_size"], row["patch_size"]))
        for row in rows
    ]
    for slide in slides.values():
        slide.close()
    return pa.array(images, pa.binary())


def _png(patch: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", patch[..., ::-1])
    assert done
    return data.tobytes()

"""Manifests in which every patch has pixels of its own, by which tests recognise it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from wsc_ray.cohort import write_cohort
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.manifest.schema import schema_for
from wsc_ray.manifest.write import write_file


def picture(number: int) -> np.ndarray:
    """An image of one colour, (8, 8, 3) uint8, that tells which patch it is of."""
    return np.full((8, 8, 3), (number % 251, number // 251 % 251, 7), np.uint8)


def number_of(image: np.ndarray) -> int:
    """The patch that a `picture` is of."""
    return int(image[0, 0, 0]) + 251 * int(image[0, 0, 1])


def colour(pixels: np.ndarray) -> np.ndarray:
    """Stands for an encoder: pixels (n, s, s, 3) uint8 -> their mean colour, (n, 3) float32."""
    return pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float32)


def write_manifest(
    folder: Path, files: Sequence[Sequence[Sequence[str]]], *, broken: Sequence[int] = (), coarse: Sequence[int] = ()
) -> Manifest:
    """A manifest from the slide of each row: files, row groups, rows. Patch i has `picture(i)`, x = i and y = 2 i.

    Args:
        broken: patches whose image is none.
        coarse: patches at 1 um/px; the others are at 0.5.
    """
    schema = schema_for(
        ["slide_id", "x", "y", "patch_size", "level", "mpp", "patch_size_level0", "patch_label", "image"]
    )
    (folder / "patches").mkdir(parents=True)
    number, slides = 0, set()
    for file, groups in enumerate(files):
        tables = []
        for rows in groups:
            numbers = list(range(number, number + len(rows)))
            number += len(rows)
            slides |= set(rows)
            images = [
                b"no image" if i in broken else cv2.imencode(".png", picture(i)[..., ::-1])[1].tobytes()
                for i in numbers
            ]
            values = {
                "slide_id": list(rows),
                "x": numbers,
                "y": [2 * i for i in numbers],
                "patch_size": [8] * len(rows),
                "level": [0] * len(rows),
                "mpp": [1.0 if i in coarse else 0.5 for i in numbers],
                "patch_size_level0": [8] * len(rows),
                "patch_label": [None if i % 3 == 0 else i % 3 - 1 for i in numbers],
                "image": images,
            }
            tables.append(pa.table(values, schema=schema))
        path = folder / "patches" / f"part-{file:05d}.parquet"
        write_file(pa.fs.LocalFileSystem(), str(path), schema, tables, part=file + 1, parts=len(files))
    ids = sorted(slides)
    write_cohort(folder, pa.table({"slide_id": ids, "patient_id": ids, "label": ["a"] * len(ids)}))
    return open_manifest(str(folder))


def rows_of(files: Sequence[Sequence[Sequence[str]]]) -> dict[str, list[int]]:
    """The patches of each slide, in order."""
    found: dict[str, list[int]] = {}
    for number, slide in enumerate(slide for groups in files for rows in groups for slide in rows):
        found.setdefault(slide, []).append(number)
    return found

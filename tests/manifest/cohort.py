"""A small cohort for the tests here: slides with a label, a split and some patches of 8 x 8 px."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIZE = 8


def png(number: int, size: int = SIZE) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def cohort(slides: int = 6, patches: int = 7, **replaced: list) -> pa.Table:
    """A table with the manifest's own columns: slides alternate between labels, and come in the splits train and test."""
    rows = [(slide, patch) for slide in range(slides) for patch in range(patches)]
    columns = {
        "slide_id": [f"s{slide}" for slide, _ in rows],
        "patient_id": [f"p{slide}" for slide, _ in rows],
        "label": [("negative", "positive")[slide % 2] for slide, _ in rows],
        "split": ["test" if slide >= slides - 2 else "train" for slide, _ in rows],
        "x": [patch * SIZE for _, patch in rows],
        "y": [slide for slide, _ in rows],
        "patch_size": [SIZE for _ in rows],
        "level": [0 for _ in rows],
        "mpp": [0.5 for _ in rows],
        "image": [png(number) for number in range(len(rows))],
    }
    return pa.table({**columns, **replaced})


def write(table: pa.Table, path: Path, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return str(path)


def write_images(root: Path, table: pa.Table) -> list[str]:
    """The images as `<root>/<slide>/patch_<x>_<y>.png`; their relative paths."""
    paths = []
    for row in table.to_pylist():
        path = root / row["slide_id"] / f"patch_{row['x']}_{row['y']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"])
        paths.append(str(path.relative_to(root)))
    return paths

"""Time and memory from opening a manifest to the patches of the first window, for a manifest of any size."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import fs

from benchmarks.memory import peak_of
from wsc_ray.cohort import write_cohort
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.manifest.schema import conform
from wsc_ray.manifest.write import ROW_GROUP_ROWS, divide, file_name, write_file
from wsc_ray.recipe.sections import Data, Recipe, Stream
from wsc_ray.stream.order import MIXED, PURE, window_picks
from wsc_ray.stream.plan import make_plan

SLIDE_PATCHES = 4000
_WRITERS = 2


def measure_planning(rows: int, files: int, folder: Path) -> dict[str, float]:
    """Write a manifest without pixels under `folder`, plan it in fresh processes, and take it away.

    Opening it, planning an epoch and the picks of its first window are measured, for `stream.by` patch and slide; not
    the interpreter's start and imports.

    Args:
        rows: of the manifest, in row groups and slides as `manifest import` would make them.
        files: of the manifest.

    Returns:
        `seconds` and `peak_mb` (of the whole process, libraries included) by patch; `slide_seconds` and
        `slide_peak_mb`.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=folder) as made:
        write_manifest(rows, files, Path(made), context)
        found = {}
        for prefix, by in (("", "patch"), ("slide_", "slide")):
            with ProcessPoolExecutor(1, mp_context=context) as fresh:
                seconds, peak = fresh.submit(_plan, made, by).result()
            found |= {f"{prefix}seconds": seconds, f"{prefix}peak_mb": peak / 1e6}
    return found


def write_manifest(rows: int, files: int, folder: Path, context: multiprocessing.context.BaseContext) -> None:
    """Write `rows` rows in `files` files to `<folder>/patches`: half of the slides negative, then the positive ones."""
    (folder / PATCHES).mkdir()
    edges = np.linspace(0, rows, files + 1).astype(int).tolist()
    write_cohort(folder, _slides(rows))
    with ProcessPoolExecutor(_WRITERS, mp_context=context) as pool:
        list(pool.map(partial(_write, rows, files, folder), range(files), edges[:-1], edges[1:]))


def _slides(rows: int) -> pa.Table:
    """The table of slides: half of them negative, then the positive ones, two of a patient."""
    patches = _per_slide(rows)
    slide = np.arange(-(-rows // patches))
    return pa.table(
        {
            "slide_id": np.char.add("slide-", slide.astype(str)),
            "patient_id": np.char.add("patient-", (slide // 2).astype(str)),
            "label": np.where(slide >= rows // patches // 2, "positive", "negative"),
            "split": np.full(len(slide), "train"),
        }
    )


def _per_slide(rows: int) -> int:
    return min(SLIDE_PATCHES, rows // 2)


def _write(rows: int, files: int, folder: Path, number: int, start: int, stop: int) -> None:
    row = np.arange(start, stop)
    patches = _per_slide(rows)
    slide = row // patches
    positive = slide >= rows // patches // 2
    table = conform(
        pa.table(
            {
                "slide_id": np.char.add("slide-", slide.astype(str)),
                "x": row % patches * 224,
                "y": slide,
                "patch_size": np.full(len(row), 224),
                "level": np.zeros(len(row), dtype=int),
                "mpp": np.full(len(row), 0.5),
                "image": pa.array([b""] * len(row), pa.binary()),
            }
        )
    )
    groups = [table.slice(a, b - a) for a, b in divide(np.zeros_like(row), positive, ROW_GROUP_ROWS)]
    path = f"{folder}/{PATCHES}/{file_name(number)}"
    write_file(fs.LocalFileSystem(), path, table.schema, groups, part=number + 1, parts=files)


def _plan(uri: str, by: str) -> tuple[float, int]:
    """Seconds and peak memory in bytes."""
    recipe = Recipe(data=Data(manifest=uri), stream=Stream(by=by))
    seconds = []

    def work() -> None:
        started = time.perf_counter()
        plan = make_plan(open_manifest(uri), recipe)
        for kind in (PURE, MIXED):
            window_picks(plan.geometry, plan.orders[kind], kind, 0, 0, range(plan.geometry.shards))
        seconds.append(time.perf_counter() - started)

    peak = peak_of(work)
    return seconds[0], peak.total

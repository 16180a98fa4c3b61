"""The grid of trainings, and the measurements that explain it. Each training is a file in `OUT/runs`, so that an interrupted grid can go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.collapse.encoders import Encoders, Kind
from benchmarks.collapse.gradients import escape, fall, measure
from benchmarks.collapse.page import page, table_of
from benchmarks.collapse.training import WARMUPS, Setting, train
from benchmarks.command_line import claim
from wsc_ray import checksums
from wsc_ray.bench.environment import commit, describe_machine, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.files import atomic, read_json, write_json, write_summary
from wsc_ray.places import local_path

PROGRAM = "python -m benchmarks.collapse"
GRID = (  # batch size and steps: some minutes of a core each, and a longer one in which the weight can rise
    (Kind.RANDOM, 64, 40),
    (Kind.RANDOM, 256, 30),
    (Kind.ADAPTER, 64, 40),
    (Kind.ADAPTER, 256, 40),
    (Kind.ADAPTER, 256, 300),
    (Kind.ADAPTER, 2048, 15),
    (Kind.PRETRAINED, 64, 15),
    (Kind.PRETRAINED, 256, 6),
)
QUICK_GRID = tuple((kind, 16, 2) for kind in Kind)
RATES = (0.01, 0.05, 0.1, 0.4)
COUNT, VIEWS = 1024, 8  # patches of each class, and views of each
FIRST_BATCH = 128  # number of patches for the gradients before the first step


def measure_collapse(*, patches: str, weights: str, out: str, quick: bool, markdown: str | None) -> dict[str, Any]:
    """Train every setting of the grid, and measure the gradients before the first step.

    Args:
        patches: a Parquet table, see `read_patches`.
        weights: folder with ImageNet weights of tf_efficientnet_lite0.
        out: a new folder, or one that holds the same grid.
        quick: whether to train two steps of small batches only.
        markdown: file for the whole page.

    Raises:
        RunFolderError: the folder holds another grid.
        DataError, WeightsError: patches or weights cannot be read.
    """
    started, file = time.monotonic(), require_file(markdown) if markdown else None
    folder, table, start = local_path(out), local_path(patches), local_path(weights)
    claim(folder, "a grid", {"patches": str(table), "weights": str(start), "quick": quick})
    (folder / "runs").mkdir(exist_ok=True)
    count, views = (16, 2) if quick else (COUNT, VIEWS)
    encoders, runs = Encoders(folder, table, start, count=count, views=views), folder / "runs"
    torch.set_num_threads(1)

    first_batch = 16 if quick else FIRST_BATCH
    first = {
        kind.value: _once(runs / f"first-{kind.slug}.json", partial(measure, encoders, kind, first_batch))
        for kind in Kind
    }
    away = _once(runs / "away.json", partial(_away, encoders, first_batch))
    settings = [
        Setting(kind, batch_size, steps, lr, warmup)
        for kind, batch_size, steps in (QUICK_GRID if quick else GRID)
        for lr in RATES
        for warmup in WARMUPS
    ]
    rows = []
    for number, setting in enumerate(settings, start=1):
        rows.append({**setting.to_json(), **_once(runs / setting.name, partial(train, encoders, setting))})
        print(f"{number}/{len(settings)} {setting.name}", flush=True)
    given = {"patches": patches, "weights": weights, "out": out, "quick": quick}
    summary = write_summary(
        folder,
        PROGRAM,
        {
            "rows": rows,
            "first_batch": first_batch,
            "first": first,
            "away": away,
            "machine": describe_machine(1),
            "versions": versions(["wsc-ray", "torch", "timm", "numpy"]),
            "commit": commit(),
            "seconds": round(time.monotonic() - started, 1),
            "invocation": invocation(PROGRAM, given, markdown),
        },
    )
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary))
    return {**summary, "table": table_of(rows)}


def _away(encoders: Encoders, batch_size: int) -> dict[str, Any]:
    return {"fall": fall(encoders, batch_size), "escape": escape(encoders, batch_size)}


def _once(file: Path, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the content of a file; if it is missing, measure and write it."""
    if not file.exists():
        write_json(file, measured())
    return {key: value for key, value in read_json(file).items() if key != checksums.KEY}

"""Checking the options, making slides and manifests, measuring in rounds, printing and saving the tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import CLONE
from benchmarks.cores import check_rounds, on_cores
from benchmarks.data.cost import Sample
from benchmarks.slides.draw import drawn_slides
from benchmarks.slides.manifests import bytes_of, make_manifests
from benchmarks.slides.measure import (
    JPEG,
    LINKED,
    LOSSLESS,
    WSISTREAM,
    Turn,
    measure_mixing,
    measure_rounds,
    turns_of,
)
from benchmarks.slides.ours import check_same
from benchmarks.slides.page import page, printed
from benchmarks.slides.sizes import FULL, QUICK
from benchmarks.timing import quartiles, ratio
from wsc_ray.bench.environment import commit, describe_machine, unquiet, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.errors import DataError
from wsc_ray.files import atomic, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.places import local_path
from wsc_ray.progress import Progress
from wsc_ray.ray_session import ray_session
from wsc_ray.slides.opening import open_slide

COMMAND = "benchmarks.slides"
PACKAGES = (
    "wsc-ray",
    "wsistream",
    "ray",
    "torch",
    "openslide-python",
    "openslide-bin",
    "tifffile",
    "simplejpeg",
    "opencv-python-headless",
    "numpy",
    "pillow",
    "pyarrow",
)


def measure_slides(
    *,
    out: str | Path,
    slides: Sequence[str | Path],
    batch_size: int,
    cores: int | None,
    rounds: int,
    quick: bool,
    markdown: str | Path | None,
) -> dict[str, Any]:
    """Patches a second straight from slides, from lossless patches and JPEGs in a manifest, and by wsistream, with their mixing.

    Args:
        out: folder for `summary.json`, the drawn slides and the manifests, which a later call uses again.
        slides: files to read besides the drawn ones.
        batch_size: patches of a batch.
        cores: that all may use; None: every one. Everybody reads with one process, and with one a core.
        rounds: in each of which everybody has a turn, after one that is left out.
        quick: tiny sizes, to see that it runs; its figures mean nothing.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio}; `samples`, `speeds`, `mixing`,
        `bytes`, machine, versions, commit, and the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or a slide that cannot be read.
        CrewError: a process failed, or patches differ.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    cores = usable_cores() if cores is None else cores
    check_rounds(batch_size, cores, rounds)
    sizes = QUICK if quick else FULL
    given = [local_path(slide) for slide in slides]
    for path in given:
        opened = open_slide(path, "openslide")
        opened.close()
        if min(opened.size) < sizes.patch:
            raise DataError(f"{path} is smaller than a patch of {sizes.patch} px")
    workers = sorted({1, cores})
    turns = turns_of(workers)
    state, load = commit(), os.getloadavg()[0]  # as they were when the work started
    write_summary(folder, COMMAND, {"complete": False})  # the folder is ours from now on, also if this is interrupted

    with on_cores(cores), Progress(COMMAND, 2 + (1 + rounds) * len(turns), unit="measurements") as progress:
        progress.say("drawing slides and making manifests, or taking those of an earlier benchmark here")
        drawn = drawn_slides(folder / f"slides-{sizes.side}", sizes.slides, sizes.side)
        with ray_session(num_cpus=max(2, cores), code=CLONE):
            manifests = make_manifests(folder, [*drawn, *given], sizes.patch)
            compared = check_same([manifests.linked, manifests.lossless], sizes, batch_size)
            progress.advance(1, "drawing")
            found = measure_rounds(
                *(manifests, [*drawn, *given], sizes, batch_size, workers, rounds),
                lambda turn: progress.advance(1, turn.name),
            )
        mixed = measure_mixing(manifests, [*drawn, *given], sizes, batch_size, workers)
        progress.advance(1, "mixing")

    speeds = _speeds(found)
    patches = open_manifest(str(manifests.linked)).rows
    missing = [] if versions([WSISTREAM])[WSISTREAM] else ["wsistream is not installed, and is left out."]
    options = {"batch_size": batch_size, "cores": cores, "rounds": rounds, "quick": quick}
    program = " ".join([f"python -m {COMMAND}", *(f"--slide {path}" for path in slides)])
    summary = {
        "results": _results(speeds),
        "samples": [
            {**turn._asdict(), "samples": [asdict(sample) for sample in samples]} for turn, samples in found.items()
        ],
        "speeds": speeds,
        "mixing": [{**turn._asdict(), **values} for turn, values in mixed.items()],
        "bytes": {
            "slides": sum(path.stat().st_size for path in [*drawn, *given]),
            LINKED: bytes_of(manifests.linked),
            LOSSLESS: bytes_of(manifests.lossless),
            JPEG: bytes_of(manifests.jpeg),
        },
        "machine": describe_machine(cores),
        "versions": versions(PACKAGES),
        "commit": state,
        "invocation": invocation(program, {"out": out, **options}, markdown),
        "settings": {
            "patch": sizes.patch,
            "side": sizes.side,
            "drawn": len(drawn),
            "slides": len(drawn) + len(given),
            "given": "".join(f"; {path.name}" for path in given),
            "patches": patches,
            "compared": compared,
            "batch_size": batch_size,
        },
        "notes": [*["Tiny sizes (--quick): the figures mean nothing."] * quick, *missing, *unquiet(load, cores)],
    }
    summary["table"] = printed(summary)
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary))
    return write_summary(folder, COMMAND, summary)


def _speeds(found: Mapping[Turn, Sequence[Sample]]) -> list[dict[str, Any]]:
    """See `page.rates`; the baseline is wsistream with as many workers."""
    measures = {"wall": lambda sample: sample.per_core(1), "cpu": lambda sample: sample.per_cpu_second}
    rows = []
    for turn, samples in found.items():
        base = found.get(Turn(WSISTREAM, turn.workers))
        row: dict[str, Any] = {**turn._asdict(), "baseline": base is not None}
        for per, of in measures.items():
            values = [of(sample) for sample in samples]
            row[per] = quartiles(values)
            if base is not None:
                row[f"{per}_ratio"] = ratio(values, [of(sample) for sample in base])
        rows.append(row)
    return rows


def _results(speeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    medians = {(speed["name"], speed["workers"]): speed["wall"]["median"] for speed in speeds}
    return [
        {
            "name": f"{speed['name']}, workers: {speed['workers']}",
            "value": speed["wall"]["median"],
            "unit": "patches/s",
            "baseline": medians.get((WSISTREAM, speed["workers"])),
            "ratio": speed["wall_ratio"]["median"] if speed["baseline"] else None,
        }
        for speed in speeds
    ]

"""Checking the options, making slides, measuring in rounds, printing and saving the tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cores import on_cores
from benchmarks.tile.contenders import LOOP, STORED, contenders
from benchmarks.tile.measure import Sample, measure_slide, peak_memory
from benchmarks.tile.page import LEGEND, page, rates
from benchmarks.tile.slides import drawn_slide
from benchmarks.tile.targets import verdicts
from benchmarks.timing import quartiles, ratio
from wsc_ray.bench.environment import commit, describe_machine, unquiet, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.verdict import targets
from wsc_ray.errors import DataError, UserError
from wsc_ray.files import atomic, write_summary
from wsc_ray.places import local_path
from wsc_ray.progress import Progress
from wsc_ray.slides.opening import open_slide

COMMAND = "benchmarks.tile"
PACKAGES = (
    "wsc-ray",
    "openslide-python",
    "openslide-bin",
    "tifffile",
    "simplejpeg",
    "opencv-python-headless",
    "numpy",
    "pillow",
)
SIDES, QUICK_SIDES = (5000, 10_000, 20_000), (960, 1200, 1440)  # px of drawn slides


def measure_tile(
    *,
    out: str | Path,
    slides: Sequence[str | Path] = (),
    patch_size: int = 224,
    patches: int = 2000,
    rounds: int = 5,
    quick: bool = False,
    markdown: str | Path | None = None,
) -> dict[str, Any]:
    """Patches a second a core from drawn slides and from yours, beside a loop over OpenSlide; and memory by size of slide.

    Args:
        out: folder for `summary.json` and the drawn slides, which a later call uses again.
        slides: files to measure besides.
        patch_size: side of a patch, px of level 0.
        patches: of each slide, about, in each round.
        rounds: in each of which everybody has a turn, after one that is left out.
        quick: tiny sizes, to see that it runs; its figures mean nothing.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio}, `samples`, `targets`,
        `peaks` (bytes by side of slide), machine, versions, commit, and the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or a slide that cannot be read.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    if rounds < 1:
        raise UserError(f"--rounds must be 1 or more, not {rounds}")
    sides = QUICK_SIDES if quick else SIDES
    if not 8 <= patch_size <= sides[0]:
        raise UserError(f"--patch-size {patch_size}: give 8 px or more, {sides[0]} at most")
    given = [local_path(slide) for slide in slides]
    for path in given:
        opened = open_slide(path, "openslide")
        opened.close()
        if min(opened.scanned[2:]) < patch_size:
            raise DataError(f"{path} is smaller than a patch of {patch_size} px")
    turns = 1 + len(sides) + (2 + len(given)) * (1 + rounds) * len(contenders())
    state, load = commit(), os.getloadavg()[0]  # as they were when the work started
    write_summary(folder, COMMAND, {"complete": False})  # the folder is ours from now on, also if this is interrupted

    with on_cores(1), Progress(COMMAND, turns, unit="measurements") as progress:
        progress.say("drawing slides, or taking those of an earlier benchmark here")
        drawn = [drawn_slide(folder, side, jpeg=True) for side in sides]
        files = [drawn[-1], *given, drawn_slide(folder, sides[0], jpeg=False)]
        progress.advance(1, "drawing")
        found = {}
        for path in files:
            found[path.name] = measure_slide(path, patch_size, patches, rounds, lambda name: progress.advance(1, name))
        peaks = {}
        for side, path in zip(sides, drawn, strict=True):
            peaks[side] = peak_memory(path, patch_size)
            progress.advance(1, "memory")

    speeds = {slide: _speeds(samples) for slide, samples in found.items()}
    ratios = {slide: of[STORED]["ratio"]["median"] for slide, of in speeds.items()}
    judged = verdicts(ratios, {path.name: path != files[-1] for path in files}, peaks, quick)
    options = {"patch_size": patch_size, "patches": patches, "rounds": rounds, "quick": quick}
    program = " ".join([f"python -m {COMMAND}", *(f"--slide {path}" for path in slides)])
    summary = {
        "results": _results(speeds, peaks),
        "targets": [one._asdict() for one in judged],
        "samples": {
            slide: {name: [one._asdict() for one in of] for name, of in s.items()} for slide, s in found.items()
        },
        "speeds": speeds,
        "peaks": peaks,
        "machine": describe_machine(1),
        "versions": versions(PACKAGES),
        "commit": state,
        "invocation": invocation(program, {"out": out, **options}, markdown),
        "settings": {"patch": patch_size, "patches": patches, "sides": list(sides)},
        "notes": [*["Tiny sizes (--quick): the figures mean nothing."] * quick, *unquiet(load, 1)],
    }
    summary["table"] = "\n\n".join([rates(speeds), LEGEND, targets(judged), *summary["notes"]])
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary, targets(judged)))
    return write_summary(folder, COMMAND, summary)


def _speeds(samples: dict[str, list[Sample]]) -> dict[str, dict[str, dict[str, float]]]:
    """See `page.rates`."""
    loop = [sample.cpu for sample in samples[LOOP]]
    return {
        name: {
            "cpu": quartiles([sample.cpu for sample in of]),
            "wall": quartiles([sample.wall for sample in of]),
            "ratio": ratio([sample.cpu for sample in of], loop),
        }
        for name, of in samples.items()
    }


def _results(speeds: dict[str, Any], peaks: dict[int, int]) -> list[dict[str, Any]]:
    rows = [
        {
            "name": f"{slide}: {name}, against {LOOP}",
            "value": found["cpu"]["median"],
            "unit": "patches/CPU s",
            "baseline": of[LOOP]["cpu"]["median"],
            "ratio": found["ratio"]["median"],
        }
        for slide, of in speeds.items()
        for name, found in of.items()
        if name != LOOP
    ]
    memory = [
        {"name": f"memory, {side} px", "value": peak, "unit": "bytes", "baseline": None, "ratio": None}
        for side, peak in peaks.items()
    ]
    return rows + memory

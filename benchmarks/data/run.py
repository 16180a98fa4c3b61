"""Checking the options, making patches, measuring in rounds, training briefly, printing and saving the tables."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import CLONE
from benchmarks.cores import check_rounds, on_cores
from benchmarks.data.contenders import ALONE, DECODING, NAMES, RAY, REFERENCE
from benchmarks.data.cost import Sample
from benchmarks.data.measure import measure_rounds, stream_recipe
from benchmarks.data.page import page, printed
from benchmarks.data.plan import measure_planning
from benchmarks.data.sizes import FULL, QUICK
from benchmarks.data.targets import Figures, verdicts
from benchmarks.data.training import measure_training
from benchmarks.timing import quartiles, ratio
from wsc_ray.bench.environment import commit, describe_machine, unquiet, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.patches import drawn_manifest
from wsc_ray.bench.verdict import targets
from wsc_ray.files import atomic, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.places import local_path
from wsc_ray.progress import Progress
from wsc_ray.ray_session import ray_session
from wsc_ray.stream.plan import make_plan

COMMAND = "benchmarks.data"
PACKAGES = (
    "wsc-ray",
    "ray",
    "torch",
    "torchvision",
    "pillow",
    "opencv-python-headless",
    "simplejpeg",
    "numpy",
    "pyarrow",
)


def measure_data(
    *,
    out: str | Path,
    manifest: str | None,
    batch_size: int,
    cores: int | None,
    rounds: int,
    planning: bool,
    quick: bool,
    markdown: str | Path | None,
) -> dict[str, Any]:
    """Patches a second a core: ours beside the reference's DataLoader and beside decoding alone, and while training.

    Args:
        out: folder for `summary.json` and the drawn patches, which a later call uses again.
        manifest: patches to read, with the labels `negative` and others and a split `train`; None: drawn ones, 224 px.
        batch_size: patches of a global batch.
        cores: that all may use; None: every one.
        rounds: in each of which everybody has a turn, after one that is left out.
        planning: also measure how long a manifest of 10 million rows takes to plan.
        quick: tiny sizes, to see that it runs; its figures mean nothing.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio} with ratio =
        value / baseline, the median over rounds; `samples`, `targets`, machine, versions, commit, and the tables as
        text in `table`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or a manifest that cannot be read.
        CrewError: a process failed otherwise.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    cores = usable_cores() if cores is None else cores
    check_rounds(batch_size, cores, rounds)
    sizes = QUICK if quick else FULL
    uri = str(local_path(manifest)) if manifest and "://" not in manifest else manifest
    if uri is not None:
        make_plan(open_manifest(uri), stream_recipe({"manifest": uri}, sizes, batch_size, cores))
    state, load = commit(), os.getloadavg()[0]  # as they were when the work started
    write_summary(folder, COMMAND, {"complete": False})  # the folder is ours from now on, also if this is interrupted

    turns = (1 + rounds) * len(NAMES)
    with on_cores(cores), Progress(COMMAND, turns + 2 + planning, unit="measurements") as progress:
        if uri is None:
            progress.say("drawing patches, or taking those of an earlier benchmark here")
            uri = str(drawn_manifest(folder, sizes))
        data = {"manifest": uri}
        with ray_session(num_cpus=max(2, cores), code=CLONE):
            recipe = stream_recipe(data, sizes, batch_size, cores)
            found, facts = measure_rounds(recipe, sizes, cores, rounds, lambda name: progress.advance(1, name))
            progress.say(f"training {sizes.backbone} for {sizes.steps} steps")
            training = measure_training(folder, data, sizes, cores)
            progress.advance(2, "training")
        planned = None
        if planning:
            progress.say(f"planning {sizes.plan_rows:,} rows")
            planned = measure_planning(sizes.plan_rows, sizes.plan_files, folder)
            progress.advance(1, "planning")

    speeds, first_batch = _speeds(found.samples, cores), quartiles(found.first_batch)
    faster = {name: speeds[RAY][f"core_{name}"]["median"] for name in NAMES}
    judged = verdicts(None if quick else Figures(faster, training["waited"], first_batch["median"], planned))
    options = {
        "manifest": manifest,
        "batch_size": batch_size,
        "cores": cores,
        "rounds": rounds,
        "planning": planning,
        "quick": quick,
    }
    summary = {
        "results": _results(speeds, training, first_batch, planned),
        "targets": [one._asdict() for one in judged],
        "samples": {name: [asdict(sample) for sample in samples] for name, samples in found.samples.items()},
        "speeds": speeds,
        "training": training,
        "first_batch": first_batch,
        "planning": planned,
        "facts": facts,
        "machine": describe_machine(cores),
        "versions": versions(PACKAGES),
        "commit": state,
        "invocation": invocation(f"python -m {COMMAND}", {"out": out, **options}, markdown),
        "settings": {
            **asdict(sizes),
            "batch_size": batch_size,
            "images": f"{manifest}" if manifest else f"drawn JPEG patches of {sizes.patch} px (quality 90)",
        },
        "notes": [*["Tiny sizes (--quick): the figures mean nothing."] * quick, *unquiet(load, cores)],
    }
    summary["table"] = printed(summary, targets(judged))
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary, targets(judged)))
    return write_summary(folder, COMMAND, summary)


def _speeds(samples: dict[str, list[Sample]], cores: int) -> dict[str, dict[str, dict[str, float]]]:
    """See `page.rates`."""
    measures = {"core": lambda sample: sample.per_core(cores), "cpu": lambda sample: sample.per_cpu_second}
    values = {per: {name: [of(s) for s in samples[name]] for name in NAMES} for per, of in measures.items()}
    return {
        name: {per: quartiles(values[per][name]) for per in measures}
        | {f"{per}_{other}": ratio(values[per][name], values[per][other]) for per in measures for other in NAMES}
        for name in NAMES
    }


def _results(
    speeds: dict[str, dict[str, dict[str, float]]],
    training: dict[str, float],
    first_batch: dict[str, float],
    planned: dict[str, float] | None,
) -> list[dict[str, Any]]:
    units = {"core": "patches/s/core", "cpu": "patches/CPU s"}
    rows = [
        {
            "name": f"{ours}, against {other}: {unit}",
            "value": speeds[ours][per]["median"],
            "unit": unit,
            "baseline": speeds[other][per]["median"],
            "ratio": speeds[ours][f"{per}_{other}"]["median"],
        }
        for ours, others in ((RAY, (REFERENCE, DECODING, ALONE)), (ALONE, (REFERENCE, DECODING)))
        for other in others
        for per, unit in units.items()
    ]
    alone = [
        ("training: patches/s", training["patches_per_second"], "patches/s"),
        ("training: share of the time spent waiting for data", training["waited"], "1"),
        ("first batch from a warm Ray", first_batch["median"], "s"),
    ]
    for by, prefix in (("patch", ""), ("slide", "slide_")) if planned else ():
        alone += [
            (f"planning by {by}: time", planned[f"{prefix}seconds"], "s"),
            (f"planning by {by}: peak memory", planned[f"{prefix}peak_mb"], "MB"),
        ]
    rows += [
        {"name": name, "value": value, "unit": unit, "baseline": None, "ratio": None} for name, value, unit in alone
    ]
    return rows

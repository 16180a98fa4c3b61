"""Check the options, measure every number of workers, save tables, picture and projection."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.patches import FULL, QUICK, drawn_manifest
from wsc_ray.bench.scaling.figures import Setting, as_row
from wsc_ray.bench.scaling.measure import Record, figures_of, measure_rounds
from wsc_ray.bench.scaling.options import check, default_cpus, notes, spread_over
from wsc_ray.bench.scaling.page import page, projection_section, tables
from wsc_ray.bench.scaling.plan import COMMAND, recipe_of, settings_of
from wsc_ray.bench.scaling.plot import plot
from wsc_ray.bench.scaling.project import Network, measured_step, project
from wsc_ray.bench.scaling.promise import promise
from wsc_ray.bench.scaling.ray_nodes import refuse_other_ray
from wsc_ray.bench.scaling.targets import verdicts
from wsc_ray.bench.verdict import targets
from wsc_ray.files import atomic, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.places import local_path
from wsc_ray.progress import Progress
from wsc_ray.stream.plan import make_plan
from wsc_ray.tracking import Tracker, connect, tracking_uri

EXPERIMENT = "wsc-ray"
PACKAGES = ("wsc-ray", "ray", "torch", "timm", "numpy", "pyarrow")
GPUS = (8, 16, 32, 64, 128, 256, 512)


def measure_scaling(
    *,
    out: str | Path,
    workers: Sequence[int],
    nodes: Sequence[int] | None,
    manifest: str | None,
    backbone: str,
    crop: int,
    batch_size: int,
    steps: int,
    warm_up: int,
    rounds: int,
    cores: int | None,
    cpus_per_worker: float | None,
    skip_training: bool,
    mock_model: float | None,
    projected: bool,
    network: float,
    latency: float,
    cohort: int,
    epochs: int,
    price: float | None,
    quick: bool,
    markdown: str | Path | None,
) -> dict[str, Any]:
    """Throughput of training, and of its data alone, with each number of workers; weak and strong scaling.

    On one machine every worker has a Ray node of its own, or a share of one, pinned to a core a worker; where
    RAY_ADDRESS names a cluster, that cluster is used.

    Args:
        out: folder for `summary.json`, `steps.parquet`, `scaling.png` and drawn patches.
        workers: numbers of workers, each in turn.
        nodes: on one machine, how many Ray nodes share each of those numbers; None: a node a worker.
        manifest: patches to read, with the labels `negative` and others and a split `train`; None: drawn ones.
        backbone, crop: timm's name of the encoder, and the side of its views, px.
        batch_size: patches of each worker a step, half of them pure.
        steps, warm_up: steps that count, and steps before them.
        rounds: in each of which every number of workers has a turn.
        cores: cores of this machine, for the nodes; None: every one.
        cpus_per_worker: CPUs that a training worker reserves, so many that no node takes one worker more than its
            share; None: 0.6 of a node's one CPU, more where workers share a node.
        skip_training: read the data alone.
        mock_model: ms that a model takes for a step, instead of training; None: no such model.
        projected: also project to 8..512 GPUs, for `network` Gbit/s, `latency` us, a `cohort` of patches, `epochs`,
            and a `price` in dollars a GPU and hour.
        quick: tiny sizes, to see that it runs; its figures mean nothing.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio}, where the
        ratio is the efficiency, and the baseline the rate at an efficiency of 1; `rows`, `targets`,
        `projection`, machine, versions, commit, and the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or a manifest that cannot be read.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    spread = spread_over(workers, nodes)
    workers = sorted(spread)
    cores = usable_cores() if cores is None else cores
    settings = {
        "workers": workers,
        "nodes": [spread[count] for count in workers] if nodes else None,
        "manifest": manifest,
        "backbone": "test_resnet" if quick else backbone,
        "crop": 32 if quick else crop,
        "batch_size": batch_size,
        "steps": 4 if quick else steps,
        "warm_up": 1 if quick else warm_up,
        "rounds": rounds,
        "cores": cores,
        "cpus_per_worker": default_cpus(spread) if cpus_per_worker is None else cpus_per_worker,
    }
    works = ["mock"] if mock_model is not None else ["data"] if skip_training else ["training", "data"]
    assumed = {"network": network, "latency": latency, "cohort": cohort, "epochs": epochs, "price": price}
    check(settings, spread, mock_model, skip_training, assumed if projected else {})
    plans = [setting for count in workers for setting in settings_of(works, count, workers[0], batch_size)]
    state, load = commit(), os.getloadavg()[0]  # as they were when the work started
    data = str(local_path(manifest)) if manifest and "://" not in manifest else manifest
    recipes = [recipe_of(settings, setting, data or "drawn", folder) for setting in plans]
    if data:
        for recipe in recipes:
            make_plan(open_manifest(data), recipe)
    refuse_other_ray()
    uri = tracking_uri(None, folder)
    connect(uri, EXPERIMENT)
    write_summary(folder, COMMAND, {"complete": False})  # the folder is ours from now on
    data = data or str(drawn_manifest(folder, QUICK if quick else FULL))
    with Progress(COMMAND, rounds * len(plans), unit="measurements") as progress:
        records = measure_rounds(
            settings,
            plans,
            spread,
            data,
            folder,
            mock_model,
            lambda done: progress.advance(1, f"{done.work}, {done.mode}, {done.workers} workers"),
        )
    found = figures_of(records, settings)

    promised = {
        (one.setting.batch_size, one.setting.workers): promise(settings, one.setting)
        for one in found
        if one.setting.work == "training"
    }
    judged = verdicts(found, promised, None if os.environ.get("RAY_ADDRESS") else cores)
    projections = []
    if projected:
        step = measured_step(found, settings)
        line = Network(latency * 1e-6, network * 1e9 / 8)
        projections = [
            project(step, line, count, patches=float(cohort) * epochs, dollars_an_hour=price) for count in GPUS
        ]
    body = tables(found)
    if projections:
        body += "\n\n" + projection_section(projections, {**assumed, "batch_size": batch_size})
    flat = [as_row(one, found) for one in found]
    options = {
        "out": out,
        **settings,
        "skip_training": skip_training,
        "mock_model": mock_model,
        "project": projected,
        **(assumed if projected else {}),
        "quick": quick,
    }
    summary: dict[str, Any] = {
        "results": [_result(row) for row in flat],
        "rows": flat,
        "targets": [one._asdict() for one in judged],
        "projection": [asdict(row) for row in projections],
        "machine": describe_machine(cores),
        "versions": versions(PACKAGES),
        "commit": state,
        "invocation": invocation(f"wsc-ray {COMMAND}", options, markdown),
        "settings": settings,
        "notes": notes(load, cores, spread, quick),
    }
    summary["table"] = "\n\n".join([body, targets(judged), *summary["notes"]])
    pq.write_table(pa.Table.from_pylist(_steps(records)), folder / "steps.parquet")
    plot(found, folder / "scaling.png")
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary, body, targets(judged)))
    with Tracker(uri=uri, experiment=EXPERIMENT, folder=folder, command=COMMAND, params=settings) as tracker:
        for row in flat:
            numbers = {key: value for key, value in row.items() if isinstance(value, float)}
            tracker.log_metrics(
                {f"{row['work']}_{row['mode']}_{key}": value for key, value in numbers.items()}, row["workers"]
            )
        for name in ("scaling.png", "steps.parquet"):
            tracker.log_artifact(folder / name)
        summary["mlflow"] = {"run_id": tracker.run_id, "look": tracker.ui_command}
    return write_summary(folder, COMMAND, summary)


def _result(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `results` from one of `as_row`."""
    return {
        "name": f"{row['work']}, {row['mode']} scaling, {row['workers']} workers",
        "value": row["patches_per_second"],
        "unit": "patches/s",
        "baseline": row["patches_per_second"] / row["efficiency"],
        "ratio": row["efficiency"],
    }


def _steps(records: Mapping[Setting, Record]) -> list[dict[str, Any]]:
    """Rows of `steps.parquet`: a worker in a step, with its setting."""
    return [{**asdict(setting), **row} for setting, record in records.items() for row in record.rows]

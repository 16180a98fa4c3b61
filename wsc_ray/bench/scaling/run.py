"""`wsc-ray bench scaling`: checking the options, measuring every number of workers, saving tables, picture and projection."""

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
from wsc_ray.tracking import Tracker
from wsc_ray.tracking_store import connect, tracking_uri

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
    """Measure the throughput of training, and of its data alone, for each number of workers; weak and strong scaling.

    On one machine every worker has a Ray node of its own, or a share of one, and is pinned to a core of its own; if
    RAY_ADDRESS names a cluster, that cluster is used.

    Args:
        out: folder for `summary.json`, `steps.parquet`, `scaling.png` and synthetic patches.
        workers: numbers of workers to measure, one after the other.
        nodes: on one machine, the number of Ray nodes for each of these; None for one node per worker.
        manifest: manifest of the patches, with the label `negative` and others and a split `train`; None for synthetic patches.
        backbone, crop: timm's name of the encoder, and the side of its views, px.
        batch_size: patches per worker and step, half of them pure.
        steps, warm_up: number of measured steps, and of steps before them.
        rounds: number of rounds, each of which measures every number of workers once.
        cores: number of this machine's cores for the nodes; None for all.
        cpus_per_worker: CPUs that a training worker reserves, so many that a node cannot take more workers than its share; None for
            0.6 of a node's one CPU, and more if workers share a node.
        skip_training: measure reading alone.
        mock_model: ms that a model takes for a step, instead of training; None for no such model.
        projected: project to 8 to 512 GPUs too, for `network` Gbit/s, `latency` us, a `cohort` of patches, `epochs`,
            and a `price` in dollars per GPU and hour.
        quick: use tiny sizes to check that the benchmark works; its figures mean nothing.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio}, where the
        ratio is the efficiency, and the baseline is the rate at an efficiency of 1; `rows`, `targets`,
        `projection`, machine, versions, commit, and the tables as text in `table`.

    Raises:
        UserError: an option has an impossible value, the folder holds something else, or the manifest cannot be read.
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
    state, load = commit(), os.getloadavg()[0]  # taken before the work starts
    data = str(local_path(manifest)) if manifest and "://" not in manifest else manifest
    recipes = [recipe_of(settings, setting, data or "drawn", folder) for setting in plans]
    if data:
        for recipe in recipes:
            make_plan(open_manifest(data), recipe)
    refuse_other_ray()
    uri = tracking_uri(None, folder)
    connect(uri, EXPERIMENT)
    write_summary(folder, COMMAND, {"complete": False})  # marks the folder as this benchmark's
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
    measured = figures_of(records, settings)

    promised = {
        (one.setting.batch_size, one.setting.workers): promise(settings, one.setting)
        for one in measured
        if one.setting.work == "training"
    }
    judged = verdicts(measured, promised, None if os.environ.get("RAY_ADDRESS") else cores)
    projections = []
    if projected:
        step = measured_step(measured, settings)
        line = Network(latency * 1e-6, network * 1e9 / 8)
        projections = [
            project(step, line, count, patches=float(cohort) * epochs, dollars_an_hour=price) for count in GPUS
        ]
    body = tables(measured)
    if projections:
        body += "\n\n" + projection_section(projections, {**assumed, "batch_size": batch_size})
    flat = [as_row(one, measured) for one in measured]
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
    plot(measured, folder / "scaling.png")
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
    """Return a row of `results`, from a row of `as_row`."""
    return {
        "name": f"{row['work']}, {row['mode']} scaling, {row['workers']} workers",
        "value": row["patches_per_second"],
        "unit": "patches/s",
        "baseline": row["patches_per_second"] / row["efficiency"],
        "ratio": row["efficiency"],
    }


def _steps(records: Mapping[Setting, Record]) -> list[dict[str, Any]]:
    """Return the rows of `steps.parquet`: one for each worker and step, with its setting."""
    return [{**asdict(setting), **row} for setting, record in records.items() for row in record.rows]

"""The command: check the options, measure every number of workers, print and save tables, picture and projection."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray.bench.data.patches import drawn_manifest
from wsc_ray.bench.data.sizes import FULL, QUICK
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.scaling.figures import Setting, as_row, figures
from wsc_ray.bench.scaling.nodes import nodes as ray_nodes
from wsc_ray.bench.scaling.nodes import refuse_other_ray, spilled_bytes
from wsc_ray.bench.scaling.options import check, default_cpus, notes, spread_over
from wsc_ray.bench.scaling.page import page, projection, tables
from wsc_ray.bench.scaling.plan import COMMAND, projected_step, promise, recipe_of, settings_of, with_strong_base
from wsc_ray.bench.scaling.plot import plot
from wsc_ray.bench.scaling.project import Network, project
from wsc_ray.bench.scaling.targets import verdicts
from wsc_ray.bench.scaling.work import receive, train
from wsc_ray.bench.timing import rotations
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
    workers: Sequence[int] = (1, 2, 4),
    nodes: Sequence[int] | None = None,
    manifest: str | None = None,
    backbone: str = "vit_tiny_patch16_224",
    crop: int = 64,
    batch_size: int = 64,
    steps: int = 16,
    warm_up: int = 4,
    rounds: int = 3,
    cores: int | None = None,
    cpus_per_worker: float | None = None,
    skip_training: bool = False,
    mock_model: float | None = None,
    projected: bool = False,
    network: float = 100.0,
    latency: float = 10.0,
    cohort: int = 10_000_000,
    epochs: int = 100,
    price: float | None = None,
    quick: bool = False,
    markdown: str | Path | None = None,
) -> dict[str, Any]:
    """Throughput of training, and of its data alone, with each number of workers; weak and strong scaling.

    On one machine every worker has a Ray node of its own, or a share of one, pinned to a core a worker; where RAY_ADDRESS names a cluster, that
    cluster is used.

    Args:
        out: folder for `summary.json`, `steps.parquet`, `scaling.png` and drawn patches.
        workers: numbers of workers, each in turn.
        nodes: on one machine, over how many Ray nodes each of those numbers is spread; None: a node a worker.
        manifest: patches to read, with the labels `negative` and others and a split `train`; None: drawn ones.
        backbone, crop: timm's name of the encoder, and the side of its views, px.
        batch_size: patches of each worker a step, half of them pure.
        steps, warm_up: that count, and before them.
        rounds: in each of which every number of workers has a turn.
        cores: of this machine, for the nodes; None: every one.
        cpus_per_worker: that a training worker reserves, so much that no node takes one more than its share; None: 0.6 of a
            node's one CPU, more where workers share a node.
        skip_training: the data alone.
        mock_model: ms that a model takes for a step, instead of training.
        projected: also project to 8..512 GPUs, for `network` Gbit/s, `latency` us, a `cohort` of patches, `epochs`, and a
            `price` in dollars a GPU and hour.
        quick: tiny sizes, to see that it runs; its figures mean nothing.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio} with ratio =
        value / baseline, the efficiency, and so the baseline what a worker among the fewest does, as many times;
        `rows`, `targets`, `projection`, machine, versions, commit, and the tables as text in `table`.

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
    for recipe in recipes if data else ():
        make_plan(open_manifest(data), recipe)
    refuse_other_ray()
    uri = tracking_uri(None, folder)
    connect(uri, EXPERIMENT)
    write_summary(folder, COMMAND, {"complete": False})  # the folder is ours from now on
    data = data or str(drawn_manifest(folder, QUICK if quick else FULL))
    rows: dict[Setting, list[dict[str, Any]]] = {setting: [] for setting in plans}
    spilled: dict[Setting, list[float | None]] = {setting: [] for setting in plans}
    with Progress(COMMAND, rounds * len(plans), unit="measurements") as progress:
        for turn, order in enumerate(rotations(workers, rounds)):
            for count in order:
                for setting, found, wrote in _measure(settings, plans, count, spread[count], data, folder, mock_model):
                    rows[setting] += [{**row, "run": turn} for row in found]
                    spilled[setting].append(wrote)
                    progress.advance(1, f"{setting.work}, {setting.mode}, {count} workers")
    counted = range(settings["warm_up"], settings["warm_up"] + settings["steps"])
    found = [figures(setting, rows[setting], counted, _sum(spilled[setting])) for setting in plans]
    found = with_strong_base(found)

    promised = {
        (one.setting.batch_size, one.setting.workers): promise(settings, one.setting)
        for one in found
        if one.setting.work == "training"
    }
    judged = verdicts(found, promised, None if os.environ.get("RAY_ADDRESS") else cores)
    projections = []
    if projected:
        step = projected_step(found, settings)
        line = Network(latency * 1e-6, network * 1e9 / 8)
        projections = [
            project(step, line, count, patches=float(cohort) * epochs, dollars_an_hour=price) for count in GPUS
        ]
    body = tables(found)
    if projections:
        body += "\n\n" + projection(projections, {**assumed, "batch_size": batch_size})
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
    summary = {
        "results": [_result(row) for row in flat],
        "rows": flat,
        "targets": [one._asdict() for one in judged],
        "projection": [asdict(row) for row in projections],
        "machine": describe_machine(cores),
        "versions": versions(PACKAGES),
        "commit": state,
        "invocation": invocation(COMMAND, options, markdown),
        "settings": settings,
        "notes": notes(load, cores, spread, quick),
    }
    summary["table"] = "\n\n".join([body, targets(judged), *summary["notes"]])
    pq.write_table(pa.Table.from_pylist(_steps(rows)), folder / "steps.parquet")
    plot(found, folder / "scaling.png")
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary, body, targets(judged)))
    with Tracker(uri=uri, experiment=EXPERIMENT, folder=folder, command=COMMAND, params=settings) as tracker:
        for row in flat:
            numbers = {k: v for k, v in row.items() if isinstance(v, float) and not math.isnan(v)}
            tracker.log_metrics(
                {f"{row['work']}_{row['mode']}_{key}": value for key, value in numbers.items()}, row["workers"]
            )
        for name in ("scaling.png", "steps.parquet"):
            tracker.log_artifact(folder / name)
        summary["mlflow"] = {"run_id": tracker.run_id, "look": tracker.ui_command}
    return write_summary(folder, COMMAND, summary)


def _measure(
    settings: dict[str, Any],
    plans: Sequence[Setting],
    count: int,
    over: int,
    data: str,
    folder: Path,
    mock_model: float | None,
):
    """Each setting of a number of workers, its rows, and what was spilled meanwhile."""
    with ray_nodes(over, settings["cores"], cpus=count // over):
        for setting in (setting for setting in plans if setting.workers == count):
            before = spilled_bytes()
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                recipe = recipe_of(settings, setting, data, Path(temporary))
                if setting.work == "training":
                    found = train(recipe, Path(temporary) / "run")
                else:
                    found = receive(recipe, setting, (mock_model or 0.0) / 1000)
            after = spilled_bytes()
            yield setting, found, None if before is None or after is None else after - before


def _result(row: dict[str, Any]) -> dict[str, Any]:
    ideal = row["patches_per_second"] / row["efficiency"]
    return {
        "name": f"{row['work']}, {row['mode']} scaling, {row['workers']} workers",
        "value": row["patches_per_second"],
        "unit": "patches/s",
        "baseline": ideal,
        "ratio": row["efficiency"],
    }


def _steps(rows: dict[Setting, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{**asdict(setting), **row} for setting, found in rows.items() for row in found]


def _sum(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else float(sum(values))

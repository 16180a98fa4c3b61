"""`wsc-ray bench scaling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import Option, Where, command
from wsc_ray.describe import describe


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    return summary["table"] if "table" in summary else describe(summary)  # a cluster's log has the table


@command(
    "bench scaling",
    writes="`DIR/summary.json`, `steps.parquet`, `scaling.png`, `--markdown FILE`",
    sent=True,
    trains=True,
    resources=lambda recipe: {
        "training workers": "each of --workers in turn, each --cpus-per-worker and, where there are any, 1 GPU"
    },
    describe=_describe,
)
def bench_scaling(
    *,
    out: Annotated[str | Path, Option("Folder for the results.", metavar="DIR", kind="path")],
    workers: Annotated[Sequence[int], Option("Numbers of workers, each in turn.", metavar="N,N", kind="numbers")] = (
        1,
        2,
        4,
    ),
    nodes: Annotated[
        Sequence[int] | None,
        Option(
            "Ray nodes of this machine that share each number of workers.  [default: a node a worker]",
            metavar="N,N",
            kind="numbers",
            here_only="starts nodes on this machine; on a cluster, workers go where there is room for them",
        ),
    ] = None,
    manifest: Annotated[
        str | None, Option("Patches to read.  [default: drawn ones, JPEG, 224 px]", metavar="DIR", kind="path")
    ] = None,
    backbone: Annotated[str, Option("timm's name of the encoder.")] = "vit_tiny_patch16_224",
    crop: Annotated[int, Option("Side of a view, px.")] = 64,
    batch_size: Annotated[int, Option("Patches of each worker a step.")] = 64,
    steps: Annotated[int, Option("Steps that count.")] = 16,
    warm_up: Annotated[int, Option("Steps before those that count.")] = 4,
    rounds: Annotated[int, Option("Rounds, in each of which every number of workers has a turn.")] = 3,
    cores: Annotated[
        int | None, Option("Cores of this machine that are used, one a node in turn.  [default: every one]")
    ] = None,
    cpus_per_worker: Annotated[
        float | None,
        Option("CPUs that a worker reserves.  [default: 0.6 of a node's one CPU]"),
    ] = None,
    skip_training: Annotated[bool, Option("Read the data alone, and train nothing.")] = False,
    mock_model: Annotated[
        float | None, Option("Instead of training, a model that takes so long a step.", metavar="MS")
    ] = None,
    projected: Annotated[bool, Option("Also project to 8..512 GPUs, with the options below.", name="project")] = False,
    network: Annotated[float, Option("Bandwidth between the projected GPUs.", metavar="GBIT/S")] = 100.0,
    latency: Annotated[float, Option("Latency of that network.", metavar="US")] = 10.0,
    cohort: Annotated[int, Option("Patches of the projected cohort.", metavar="PATCHES", most=10**15)] = 10_000_000,
    epochs: Annotated[int, Option("Epochs of the projected training.")] = 100,
    price: Annotated[float | None, Option("Price of a GPU and hour.", metavar="DOLLARS")] = None,
    quick: Annotated[bool, Option("Tiny sizes, to see that it runs; its figures mean nothing.")] = False,
    markdown: Annotated[str | Path | None, Option("File for the whole page.", metavar="FILE", kind="path")] = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Measure throughput over numbers of workers.

    Weak and strong scaling, and where each step's time goes. On one machine each worker has a Ray node of its own, or with
    --nodes a share of one, pinned to a core a worker.

    Returns:
        The summary, also in `OUT/summary.json`, with the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, or a folder that is taken.
    """
    from wsc_ray.bench.token import ask_for_a_token

    ask_for_a_token()
    from wsc_ray.bench.scaling.run import measure_scaling

    return measure_scaling(
        out=out,
        workers=workers,
        nodes=nodes,
        manifest=manifest,
        backbone=backbone,
        crop=crop,
        batch_size=batch_size,
        steps=steps,
        warm_up=warm_up,
        rounds=rounds,
        cores=cores,
        cpus_per_worker=cpus_per_worker,
        skip_training=skip_training,
        mock_model=mock_model,
        projected=projected,
        network=network,
        latency=latency,
        cohort=cohort,
        epochs=epochs,
        price=price,
        quick=quick,
        markdown=markdown,
    )

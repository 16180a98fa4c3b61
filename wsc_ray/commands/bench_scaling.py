"""`wsc-ray bench scaling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import Option, Where, command
from wsc_ray.describe import describe


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    return summary["table"] if "table" in summary else describe(summary)  # on a cluster, the job's log shows the table


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
    workers: Annotated[
        Sequence[int], Option("Numbers of workers to measure, one after the other.", metavar="N,N", kind="numbers")
    ] = (
        1,
        2,
        4,
    ),
    nodes: Annotated[
        Sequence[int] | None,
        Option(
            "Numbers of Ray nodes on this machine, one for each number of workers.  [default: one node per worker]",
            metavar="N,N",
            kind="numbers",
            here_only="starts nodes on this machine; on a cluster, workers go where there is room for them",
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        Option(
            "Manifest of the patches to read.  [default: synthetic JPEG patches of 224 px]", metavar="DIR", kind="path"
        ),
    ] = None,
    backbone: Annotated[str, Option("Name of the encoder in timm.")] = "vit_tiny_patch16_224",
    crop: Annotated[int, Option("Side of a view, in pixels.")] = 64,
    batch_size: Annotated[int, Option("Patches per worker and step.")] = 64,
    steps: Annotated[int, Option("Steps that are measured.")] = 16,
    warm_up: Annotated[int, Option("Steps before the measured ones.")] = 4,
    rounds: Annotated[int, Option("Rounds; each measures every number of workers once.")] = 3,
    cores: Annotated[int | None, Option("Cores of this machine to use, one per worker.  [default: all]")] = None,
    cpus_per_worker: Annotated[
        float | None,
        Option("CPUs that Ray reserves for a worker.  [default: 0.6; a node has one CPU]"),
    ] = None,
    skip_training: Annotated[bool, Option("Measure reading alone, without training.")] = False,
    mock_model: Annotated[
        float | None, Option("Train no model; wait for this many milliseconds in each step instead.", metavar="MS")
    ] = None,
    projected: Annotated[
        bool, Option("Project the figures to 8 to 512 GPUs too, with the options below.", name="project")
    ] = False,
    network: Annotated[float, Option("Network bandwidth between the projected GPUs.", metavar="GBIT/S")] = 100.0,
    latency: Annotated[float, Option("Network latency between the projected GPUs.", metavar="US")] = 10.0,
    cohort: Annotated[
        int, Option("Number of patches of the projected cohort.", metavar="PATCHES", most=10**15)
    ] = 10_000_000,
    epochs: Annotated[int, Option("Epochs of the projected training.")] = 100,
    price: Annotated[
        float | None, Option("Price of one GPU for one hour, for the projected cost.", metavar="DOLLARS")
    ] = None,
    quick: Annotated[bool, Option("Use tiny sizes to see that the command works; the figures mean nothing.")] = False,
    markdown: Annotated[
        str | Path | None, Option("Markdown file for the whole report.", metavar="FILE", kind="path")
    ] = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Measure throughput over numbers of workers.

    The results are weak and strong scaling, and the parts of each step's time. On one machine each worker has a Ray node of its
    own, or with --nodes a share of one, and is pinned to a core of its own.

    Returns:
        The summary, also in `OUT/summary.json`, with the tables as text in `table`.

    Raises:
        UserError: an option has an impossible value, or the folder holds something else.
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

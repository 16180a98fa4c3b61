"""`wsc-ray bench loss`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import Option, command


@command(
    "bench loss",
    writes="`DIR/summary.json`, `--markdown FILE`",
    describe=lambda summary, dry_run: summary["table"],
)
def bench_loss(
    *,
    out: Annotated[str | Path, Option("Folder for summary.json.", metavar="DIR", kind="path")],
    batches: Annotated[
        Sequence[int],
        Option("Global batches in patches, half of them pure, half mixed.", metavar="N,N", kind="numbers"),
    ] = (512, 1024, 2048, 4096, 8192, 16384, 32768),
    processes: Annotated[
        Sequence[int], Option("Processes that share the batch, each number in turn.", metavar="N,N", kind="numbers")
    ] = (1, 2),
    dim: Annotated[int, Option("Length of a feature.")] = 128,
    repeats: Annotated[
        int, Option("Rounds where they fit into 45 seconds; fewer, but 3 at the least, where they do not.")
    ] = 20,
    threads: Annotated[int | None, Option("Threads of torch, over all processes.  [default: every core]")] = None,
    memory_limit: Annotated[
        float | None,
        Option(
            "Memory that a loss may need beyond its input.  [default: 16, or 80% of what is free if that is less]",
            metavar="GB",
        ),
    ] = None,
    markdown: Annotated[str | Path | None, Option("File for the whole page.", metavar="FILE", kind="path")] = None,
) -> dict[str, Any]:
    """Measure time and memory of the losses.

    Beside them stand plain restatements, lightly's and pytorch-metric-learning's.

    Returns:
        The summary, also in `OUT/summary.json`, with the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, or a folder that is taken.
    """
    from wsc_ray.bench.loss.run import measure_losses

    return measure_losses(
        out=out,
        batches=batches,
        processes=processes,
        dim=dim,
        repeats=repeats,
        threads=threads,
        memory_limit=memory_limit,
        markdown=markdown,
    )

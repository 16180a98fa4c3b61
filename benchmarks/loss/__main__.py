"""The command line of `python -m benchmarks.loss`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, whole_numbers


@click.command("python -m benchmarks.loss", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json.")
@click.option(
    "--batches",
    default="512,1024,2048,4096,8192,16384,32768",
    show_default=True,
    metavar="N,N",
    help="Global batches in patches, half of them pure, half mixed.",
)
@click.option(
    "--processes",
    default="1,2",
    show_default=True,
    metavar="N,N",
    help="Processes that share the batch, each number in turn.",
)
@click.option("--dim", default=128, show_default=True, help="Length of a feature.")
@click.option(
    "--repeats",
    default=20,
    show_default=True,
    help="Rounds where they fit into 45 seconds; fewer, but 3 at the least, where they do not.",
)
@click.option("--threads", type=int, help="Threads of torch, over all processes.  [default: every core]")
@click.option(
    "--memory-limit",
    type=float,
    metavar="GB",
    help="Memory that a loss may need beyond its input.  [default: 16, or 80% of what is free if that is less]",
)
@markdown_option
def main(batches: str, processes: str, **options: Any) -> None:
    """Measure time and memory of the losses.

    Beside them stand plain restatements, lightly's and pytorch-metric-learning's.
    """
    from benchmarks.loss.run import measure_losses

    numbers = {
        "batches": whole_numbers("batches", batches),
        "processes": whole_numbers("processes", processes),
    }
    click.echo(measure_losses(**numbers, **options)["table"])


if __name__ == "__main__":
    main()

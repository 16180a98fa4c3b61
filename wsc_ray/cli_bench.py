"""`wsc-ray bench`: what is measured on this machine."""

from __future__ import annotations

from typing import Any

import click

from wsc_ray import commands
from wsc_ray.errors import UserError


@click.group()
def bench() -> None:
    """Measure this machine: times and ratios of interleaved runs, with versions, commit and command."""


@bench.command()
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder for summary.json.")
@click.option(
    "--batches",
    default="512,1024,2048,4096,8192,16384,32768",
    show_default=True,
    metavar="N,N",
    help="Global batches in patches, half of them pure, half mixed.",
)
@click.option(
    "--processes", default="1,2", show_default=True, metavar="N,N", help="Processes that share the batch, each in turn."
)
@click.option("--dim", type=int, default=128, show_default=True, help="Length of a feature.")
@click.option(
    "--repeats",
    type=int,
    default=20,
    show_default=True,
    help="Rounds where they fit into 45 seconds; fewer, but 3 at the least, where they do not.",
)
@click.option("--threads", type=int, help="Of torch, over all processes.  [default: every core]")
@click.option(
    "--memory-limit",
    type=float,
    metavar="GB",
    help="What a loss may need beyond its input.  [default: 16, or 80% of what is free if that is less]",
)
@click.option("--markdown", type=click.Path(), metavar="FILE", help="Write the whole page there as well.")
def loss(batches: str, processes: str, **arguments: Any) -> None:
    """Time and memory of the losses beside plain restatements, lightly's and pytorch-metric-learning's."""
    numbers = {"batches": _numbers("batches", batches), "processes": _numbers("processes", processes)}
    click.echo(commands.bench_loss(**numbers, **arguments)["table"])


@bench.command()
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder for summary.json and patches.")
@click.option(
    "--manifest",
    metavar="DIR",
    help="Patches to read, labelled negative and otherwise.  [default: drawn ones, JPEG, 224 px]",
)
@click.option("--batch-size", type=int, default=512, show_default=True, help="Patches of a global batch.")
@click.option("--cores", type=int, help="That all may use.  [default: every core]")
@click.option("--rounds", type=int, default=3, show_default=True, help="In each of which everybody has a turn.")
@click.option("--planning", is_flag=True, help="Also plan a manifest of 10 million rows in 200 files.")
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that it runs; its figures mean nothing.")
@click.option("--markdown", type=click.Path(), metavar="FILE", help="Write the whole page there as well.")
def data(**arguments: Any) -> None:
    """Patches a second a core beside a torch DataLoader and beside decoding alone, and waiting while training."""
    click.echo(commands.bench_data(**arguments)["table"])


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--{option} {text}: write whole numbers with commas between them") from None

"""`wsc-ray bench`: what is measured on this machine."""

from __future__ import annotations

from typing import Any

import click

from wsc_ray import commands
from wsc_ray.bench.token import ask_for_a_token
from wsc_ray.cli.options import cluster_options
from wsc_ray.describe import describe
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


@bench.command()
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder for the results.")
@click.option("--workers", default="1,2,4", show_default=True, metavar="N,N", help="Numbers of workers.")
@click.option(
    "--nodes", metavar="N,N", help="Here: over how many Ray nodes each of them is spread.  [default: a node a worker]"
)
@click.option("--manifest", metavar="DIR", help="Patches to read.  [default: drawn ones, JPEG, 224 px]")
@click.option("--backbone", default="vit_tiny_patch16_224", show_default=True, help="timm's name of the encoder.")
@click.option("--crop", type=int, default=64, show_default=True, help="Side of a view, px.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Patches of each worker a step.")
@click.option("--steps", type=int, default=16, show_default=True, help="Steps that count.")
@click.option("--warm-up", type=int, default=4, show_default=True, help="Steps before them.")
@click.option("--rounds", type=int, default=3, show_default=True, help="In each of which every number has a turn.")
@click.option("--cores", type=int, help="Of this machine, one a node in turn.  [default: every one]")
@click.option(
    "--cpus-per-worker",
    type=float,
    help="So much that no node takes one worker more than its share.  [default: 0.6 of a node's one CPU]",
)
@click.option("--skip-training", is_flag=True, help="The data alone.")
@click.option("--mock-model", type=float, metavar="MS", help="Instead of training, a model that takes so long a step.")
@click.option("--project", "projected", is_flag=True, help="Also project to 8..512 GPUs, with the options below.")
@click.option("--network", type=float, default=100, show_default=True, metavar="GBIT/S", help="Between GPUs.")
@click.option("--latency", type=float, default=10, show_default=True, metavar="US", help="Of that network.")
@click.option("--cohort", type=int, default=10_000_000, show_default=True, metavar="PATCHES", help="To train on.")
@click.option("--epochs", type=int, default=100, show_default=True, help="To train for.")
@click.option("--price", type=float, metavar="DOLLARS", help="Of a GPU and hour.")
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that it runs; its figures mean nothing.")
@click.option("--markdown", type=click.Path(), metavar="FILE", help="Write the whole page there as well.")
@cluster_options
def scaling(workers: str, nodes: str | None, **arguments: Any) -> None:
    """Throughput over numbers of workers, weak and strong, and where each step's time goes.

    On one machine each worker has a Ray node of its own, or with --nodes a share of one, pinned to a core a worker.
    """
    if not (arguments["address"] or arguments["cluster"]):
        ask_for_a_token()
    numbers = {"workers": _numbers("workers", workers), "nodes": None if nodes is None else _numbers("nodes", nodes)}
    summary = commands.bench_scaling(**numbers, **arguments)
    click.echo(summary["table"] if "table" in summary else describe(summary))  # a cluster's log has the table


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--{option} {text}: write whole numbers with commas between them") from None

"""The command line of `python -m benchmarks.embed`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison


@click.command("python -m benchmarks.embed", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json and the drawn patches.")
@click.option(
    "--backbones",
    default="resnet18,resnet50",
    show_default=True,
    metavar="NAME,NAME",
    help="Encoders, as timm names them.",
)
@click.option("--patches", default=128, show_default=True, help="Patches that each contender takes in a round.")
@click.option("--rounds", default=9, show_default=True, help="Rounds, in each of which every contender has a turn.")
@click.option("--batch-size", default=32, show_default=True, help="Patches of a forward pass.")
@click.option("--quick", is_flag=True, help="Few and small patches, to see that it runs; the figures mean nothing.")
@click.option("--markdown", metavar="FILE", help="File for the whole page.")
def main(**options: Any) -> None:
    """Measure patches a second of embedding beside the model alone, and the memory of the process that gives out the work."""
    from benchmarks.embed.run import measure_embed

    click.echo(measure_embed(**options)["table"])


if __name__ == "__main__":
    main()

"""The command line of `python -m benchmarks.embed`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, quick_option, rounds_option


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
@rounds_option(9)
@click.option("--batch-size", default=32, show_default=True, help="Patches of a forward pass.")
@quick_option("Few and small patches")
@markdown_option
def main(**options: Any) -> None:
    """Measure patches a second of embedding beside the model alone, and the memory of the process that gives out the work."""
    from benchmarks.embed.run import measure_embed

    click.echo(measure_embed(**options)["table"])


if __name__ == "__main__":
    main()

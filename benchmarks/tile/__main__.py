"""The command line of `python -m benchmarks.tile`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, quick_option, rounds_option


@click.command("python -m benchmarks.tile", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json and the drawn slides.")
@click.option(
    "--slide", "slides", multiple=True, metavar="FILE", help="A slide with JPEG tiles to measure besides; repeatable."
)
@click.option("--patch-size", default=224, show_default=True, help="Side of a patch, px of level 0.")
@click.option("--patches", default=2000, show_default=True, help="Patches of each slide in a round, about.")
@rounds_option(5)
@quick_option("Tiny sizes")
@markdown_option
def main(**options: Any) -> None:
    """Measure patches a second a core from slides.

    Beside it stands a loop over OpenSlide's read_region, and cuCIM where it is installed.
    """
    from benchmarks.tile.run import measure_tile

    click.echo(measure_tile(**options)["table"])


if __name__ == "__main__":
    main()

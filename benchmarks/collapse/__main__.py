"""The command line of `python -m benchmarks.collapse`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, patches_option, quick_option, weights_option


@click.command("python -m benchmarks.collapse", cls=Comparison)
@patches_option("slide_label, split, image")
@weights_option
@click.option("--out", required=True, metavar="DIR", help="Folder for views, results and summary.json.")
@quick_option("Tiny sizes")
@markdown_option
def main(**options: Any) -> None:
    """Show which settings collapse in their first steps, and why.

    The same command goes on with an interrupted grid.
    """
    from benchmarks.collapse.run import measure_collapse

    click.echo(measure_collapse(**options)["table"])


if __name__ == "__main__":
    main()

"""The command line of `python -m benchmarks.mil`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, quick_option, rounds_option


@click.command("python -m benchmarks.mil", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json.")
@click.option("--slides", default=64, show_default=True, help="Slides of an epoch.")
@rounds_option(9)
@click.option("--trials", default=200, show_default=True, help="Trials of the search whose memory is watched; 0: none.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch; a trial of `tune` has one.")
@markdown_option
@quick_option("Few and small bags")
def main(**options: Any) -> None:
    """Measure slides a second of an epoch, packed and as torchmil trains, and a search of many trials."""
    from benchmarks.mil.run import measure_epochs

    click.echo(measure_epochs(**options)["table"])


if __name__ == "__main__":
    main()

"""The command line of `python -m benchmarks.data`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, quick_option, rounds_option


@click.command("python -m benchmarks.data", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json and patches.")
@click.option(
    "--manifest",
    metavar="DIR",
    help="Patches to read, labelled negative and otherwise.  [default: drawn ones, JPEG, 224 px]",
)
@click.option("--batch-size", default=512, show_default=True, help="Patches of a global batch.")
@click.option("--cores", type=int, help="Cores that every contender may use.  [default: every core]")
@rounds_option(3)
@click.option("--planning", is_flag=True, help="Also plan a manifest of 10 million rows in 200 files.")
@quick_option("Tiny sizes")
@markdown_option
def main(**options: Any) -> None:
    """Measure patches a second a core.

    Beside it stand a torch DataLoader and decoding alone; waiting while training is measured too.
    """
    from benchmarks.data.run import measure_data

    click.echo(measure_data(**options)["table"])


if __name__ == "__main__":
    main()

"""The command line of `python -m benchmarks.slides`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, quick_option, rounds_option


@click.command("python -m benchmarks.slides", cls=Comparison)
@click.option("--out", required=True, metavar="DIR", help="Folder for summary.json, drawn slides and manifests.")
@click.option(
    "--slide", "slides", multiple=True, metavar="FILE", help="A slide to read besides the drawn ones; repeatable."
)
@click.option("--batch-size", default=256, show_default=True, help="Patches of a batch.")
@click.option("--cores", type=int, help="Cores that everybody may use.  [default: every core]")
@rounds_option(3)
@quick_option("Few and small slides")
@markdown_option
def main(**options: Any) -> None:
    """Measure patches a second straight from slides, and how well batches are mixed.

    Beside it stand the same patches in manifests, and wsistream where it is installed.
    """
    from benchmarks.slides.run import measure_slides

    click.echo(measure_slides(**options)["table"])


if __name__ == "__main__":
    main()

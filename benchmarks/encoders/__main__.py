"""The command line of `python -m benchmarks.encoders`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison, markdown_option, patches_option, quick_option, weights_option


@click.command("python -m benchmarks.encoders", cls=Comparison)
@patches_option("slide_id, patient_id, slide_label (0 or 1), split, image")
@weights_option
@click.option("--out", required=True, metavar="DIR", help="Folder for features, heads, results and summary.json.")
@quick_option("Tiny sizes")
@markdown_option
def main(**options: Any) -> None:
    """Compare WeakSupCon, SimCLR, ImageNet and untrained features by nested searches over four heads.

    The same command goes on with an interrupted comparison.
    """
    from benchmarks.encoders.run import compare_encoders

    click.echo(compare_encoders(**options)["table"])


if __name__ == "__main__":
    main()

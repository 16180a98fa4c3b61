"""The command line of `python -m benchmarks.encoders`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from benchmarks.command_line import Comparison


def _below(variable: str, *names: str) -> str | None:
    """Return a path in the folder that an environment variable names; None if the variable is not set."""
    return str(Path(folder, *names)) if (folder := os.environ.get(variable)) else None


PATCHES = _below("WSC_RAY_COHORTS", "pcam", "patches.parquet")
WEIGHTS = _below("WSC_RAY_WEIGHTS", "tf_efficientnet_lite0")


@click.command("python -m benchmarks.encoders", cls=Comparison)
@click.option(
    "--patches",
    default=PATCHES,
    required=PATCHES is None,
    metavar="FILE",
    help="Table of patches: slide_id, patient_id, slide_label (0 or 1), split, image.  [default: WSC_RAY_COHORTS/pcam/patches.parquet]",
)
@click.option(
    "--weights",
    default=WEIGHTS,
    required=WEIGHTS is None,
    metavar="DIR",
    help="Folder with ImageNet weights of tf_efficientnet_lite0.  [default: WSC_RAY_WEIGHTS/tf_efficientnet_lite0]",
)
@click.option("--out", required=True, metavar="DIR", help="Folder for features, heads, results and summary.json.")
@click.option("--quick", is_flag=True, help="Show that all runs, in some minutes; the figures mean nothing.")
@click.option("--markdown", metavar="FILE", help="File for the whole page.")
def main(**options: Any) -> None:
    """Compare WeakSupCon, SimCLR, ImageNet and untrained features by nested searches over four heads.

    The same command goes on with an interrupted comparison.
    """
    from benchmarks.encoders.run import compare_encoders

    click.echo(compare_encoders(**options)["table"])


if __name__ == "__main__":
    main()

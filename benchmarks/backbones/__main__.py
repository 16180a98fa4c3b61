"""The command line of `python -m benchmarks.backbones`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from benchmarks.command_line import Comparison
from benchmarks.evidence.command import chosen_options, run_study, study_options
from benchmarks.evidence.options import OF_BACKBONES, QUICK

PROGRAM = "python -m benchmarks.backbones"
TINY = replace(QUICK, precision=OF_BACKBONES.precision, views=OF_BACKBONES.views, pixels=32, steps=2)


@click.command(PROGRAM, cls=Comparison)
@study_options(OF_BACKBONES, chooses=False)
def main(**given: Any) -> None:
    """Compare encoders trained from pixels with WeakSupCon, SimCLR and SupCon, and the ImageNet weights that they start from.

    The same command goes on with an interrupted study; with other --fractions and --seeds it reuses what is there.
    """
    from benchmarks.backbones import page, trainer

    options = TINY if given["quick"] else chosen_options(OF_BACKBONES, given)
    run_study(PROGRAM, trainer.BACKBONES, options, page.markdown, given)


if __name__ == "__main__":
    main()

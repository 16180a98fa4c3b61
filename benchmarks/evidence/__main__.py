"""The command line of `python -m benchmarks.evidence`."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.command_line import Comparison
from benchmarks.evidence.command import chosen_options, run_study, study_options
from benchmarks.evidence.options import QUICK, Options

PROGRAM = "python -m benchmarks.evidence"


@click.command(PROGRAM, cls=Comparison)
@study_options(Options(), chooses=True)
def main(**given: Any) -> None:
    """Compare adapters trained with WeakSupCon, SimCLR and SupCon, and the frozen features without an adapter.

    The same command goes on with an interrupted study; with other --fractions, --folds, --choosing and --seeds it reuses what is there.
    """
    from benchmarks.evidence import adapters, page

    options = QUICK if given["quick"] else chosen_options(Options(), given)
    run_study(PROGRAM, adapters.ADAPTERS, options, page.markdown, given)


if __name__ == "__main__":
    main()

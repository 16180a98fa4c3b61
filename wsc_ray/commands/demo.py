"""`wsc-ray demo`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import Option, command


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    return f"{summary['table']}\n\nlook at every run: {summary['look']}\nread the report:   {summary['report']}\nsee the patches:   {summary['picture']}"


@command("demo", writes="`demo`", describe=_describe)
def demo(
    *,
    out: Annotated[str | Path, Option("Folder for the cohort and the runs.", metavar="DIR", kind="path")] = "demo",
    seed: Annotated[int, Option("Seed of the cohort and of training.", least=0)] = 0,
    quick: Annotated[
        bool, Option("Take a few steps only, to see that everything works; the table means nothing.")
    ] = False,
) -> dict[str, Any]:
    """Run the whole pipeline on a synthetic cohort.

    An encoder of patches is trained without labels. WeakSupCon, SimCLR and SupCon then adapt its features, with two numbers left for a patch.
    One table, one picture of the patches and one report compare all four.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of name, value and unit, and the `table` as text.

    Raises:
        RunFolderError: `out` holds something else, or a demo with another seed or size.
    """
    from wsc_ray.demo.run import run_demo

    return run_demo(out=out, seed=seed, quick=quick)

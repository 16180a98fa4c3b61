"""The command line of `python -m benchmarks.widths`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from benchmarks.command_line import (
    Comparison,
    markdown_option,
    pool_option,
    processes_option,
    quick_option,
    weights_option,
    whole_numbers,
)
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.errors import UserError
from wsc_ray.files import write_summary

PROGRAM = "python -m benchmarks.widths"


@click.command(PROGRAM, cls=Comparison)
@pool_option
@weights_option
@click.option("--out", required=True, metavar="DIR", help="Folder for features, results and summary.json.")
@click.option(
    "--widths", default="2,8,32,128", show_default=True, metavar="N,N", help="Numbers that an adapter gives a patch."
)
@click.option(
    "--seeds", default=2, show_default=True, type=click.IntRange(1), help="Trainings of each method at each width."
)
@processes_option
@quick_option("Tiny sizes")
@markdown_option
def main(
    pool: str, weights: str, out: str, processes: int | None, quick: bool, markdown: str | None, **sizes: Any
) -> None:
    """Compare what WeakSupCon, SimCLR and SupCon keep in features of few numbers.

    The same command goes on with an interrupted run.
    """
    from benchmarks.evidence.embedding import PIXELS
    from benchmarks.widths.page import page
    from benchmarks.widths.run import QUICK, Options, carry_out

    widths = tuple(whole_numbers("widths", sizes["widths"]))
    if min(widths) < 1:
        raise UserError(f"--widths {sizes['widths']}: give whole numbers from 1 on")
    options = QUICK if quick else replace(Options(), widths=widths, seeds=sizes["seeds"])
    target = require_file(markdown) if markdown else None
    folder = Path(out).resolve()
    used = processes or usable_cores()
    results = carry_out(folder, Path(pool), Path(weights), options, used)
    given = {"pool": pool, "weights": weights, "out": out, **sizes, "quick": quick}
    summary = write_summary(
        folder,
        PROGRAM,
        {
            "options": asdict(options),
            "pixels": PIXELS,
            "processes": used,
            "invocation": invocation(PROGRAM, given, markdown),
            "machine": describe_machine(used),
            "versions": versions(["wsc-ray", "torch", "timm", "numpy"]),
            "commit": commit(),
            "results": results,
        },
    )
    text = page(summary, results)
    if target is not None:
        target.write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()

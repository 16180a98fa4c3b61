"""The command line of `python -m benchmarks.evidence`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from benchmarks.command_line import Comparison, pool_option, processes_option, quick_option, weights_option
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.errors import UserError
from wsc_ray.files import write_summary

PROGRAM = "python -m benchmarks.evidence"


@click.command(PROGRAM, cls=Comparison)
@pool_option
@weights_option
@click.option("--out", required=True, metavar="DIR", help="Folder for features, results and summary.json.")
@click.option(
    "--fractions",
    default="0.1,0.2,0.05,0.4",
    show_default=True,
    metavar="F,F",
    help="Shares of tumour patches in positive slides, in the order in which they are done.",
)
@click.option("--steps", default=600, show_default=True, type=click.IntRange(1, 100_000), help="Steps of a training.")
@click.option(
    "--choosing",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Trainings of each candidate for each pair of held-out stain groups.",
)
@click.option(
    "--folds",
    default=3,
    show_default=True,
    type=click.IntRange(1, 3),
    help="Pairs of stain groups that are held out in turn to choose settings.",
)
@click.option(
    "--seeds",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Trainings of each arm at each share of tumour.",
)
@click.option(
    "--heads",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Fits of each head to each training's features.",
)
@processes_option
@quick_option("Tiny sizes")
@click.option("--markdown", metavar="FILE", help="File for the whole page; its picture goes beside it.")
def main(
    pool: str, weights: str, out: str, processes: int | None, quick: bool, markdown: str | None, **sizes: Any
) -> None:
    """Compare adapters trained with WeakSupCon, SimCLR and SupCon, and the frozen features without an adapter.

    The same command goes on with an interrupted study; with other --fractions, --folds, --choosing and --seeds it reuses what is there.
    """
    from benchmarks.evidence.embedding import PIXELS
    from benchmarks.evidence.measure import ABMIL
    from benchmarks.evidence.page import curve, draw
    from benchmarks.evidence.page import markdown as page
    from benchmarks.evidence.study import QUICK, Options, carry_out
    from benchmarks.evidence.summary import summarise, summarise_patches

    chosen = {**sizes, "fractions": _fractions(sizes["fractions"])}
    options = QUICK if quick else replace(Options(), **chosen)
    target = require_file(markdown) if markdown else None
    folder = Path(out).resolve()
    found = carry_out(folder, Path(pool), Path(weights), options, processes)
    rows, patches = summarise(found["results"]), summarise_patches(found["results"])
    given = {"pool": pool, "weights": weights, "out": out, **sizes, "quick": quick}
    summary = write_summary(
        folder,
        PROGRAM,
        {
            "options": asdict(options),
            "pixels": PIXELS,
            "processes": processes or usable_cores(),
            "invocation": invocation(PROGRAM, given, markdown),
            "machine": describe_machine(processes or usable_cores()),
            "versions": versions(["wsc-ray", "torch", "timm", "numpy"]),
            "commit": commit(),
            "seconds": found["seconds"],
            "chosen": found["chosen"],
            "rows": [asdict(row) for row in rows],
            "patches": [asdict(row) for row in patches],
        },
    )
    if target is not None:
        draw([row for row in rows if row.head == ABMIL], target.with_suffix(".png"))
        target.write_text(page(summary, rows, patches, target.with_suffix(".png").name))
    click.echo(curve([row for row in rows if row.head == ABMIL]))


def _fractions(text: str) -> tuple[float, ...]:
    """Return the shares in an option's text, such as `0.1,0.2`.

    Raises:
        UserError: the text is no list of shares with commas.
    """
    from benchmarks.evidence.study import MOST

    try:
        shares = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UserError(f"--fractions {text}: write shares with commas between them, such as 0.1,0.2") from None
    if not all(0 < share <= MOST for share in shares):
        raise UserError(f"--fractions {text}: give shares above 0 and up to {MOST}")
    return shares


if __name__ == "__main__":
    main()

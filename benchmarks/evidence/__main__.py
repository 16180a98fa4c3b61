"""The command line."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import click

from benchmarks.command_line import Comparison
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file
from wsc_ray.files import write_summary

PROGRAM = "python -m benchmarks.evidence"


@click.command(PROGRAM, cls=Comparison)
@click.option(
    "--pool", required=True, metavar="FILE", help="Parquet table of patches: stain_group, patch_label, image."
)
@click.option("--weights", required=True, metavar="DIR", help="Folder with ImageNet weights of tf_efficientnet_lite0.")
@click.option("--out", required=True, metavar="DIR", help="Folder for features, results and summary.json.")
@click.option("--seeds", default=3, show_default=True, help="Trainings of each arm at each share of tumour.")
@click.option("--heads", default=2, show_default=True, help="Heads that are fitted to each training's features.")
@click.option("--processes", type=int, help="Trainings at a time.  [default: every core]")
@click.option("--quick", is_flag=True, help="Show that all runs, in a minute; the figures mean nothing.")
@click.option("--markdown", metavar="FILE", help="File for the whole page; its picture goes beside it.")
def main(
    pool: str, weights: str, out: str, seeds: int, heads: int, processes: int | None, quick: bool, markdown: str | None
) -> None:
    """Compare adapters by WeakSupCon, SimCLR and SupCon with the features that they start from.

    The same command goes on with a study that was interrupted.
    """
    from benchmarks.evidence.embedding import PIXELS
    from benchmarks.evidence.page import curve, draw
    from benchmarks.evidence.page import markdown as page
    from benchmarks.evidence.study import QUICK, Options, carry_out
    from benchmarks.evidence.summary import summarise

    started = time.monotonic()
    options = QUICK if quick else replace(Options(), seeds=seeds, heads=heads)
    target = require_file(markdown) if markdown else None
    folder = Path(out).resolve()
    found = carry_out(folder, Path(pool), Path(weights), options, processes)
    rows = summarise(found["results"])
    given = {"pool": pool, "weights": weights, "out": out, "seeds": seeds, "heads": heads, "quick": quick}
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
            "seconds": time.monotonic() - started,
            "chosen": found["chosen"],
            "rows": [asdict(row) for row in rows],
        },
    )
    if target is not None:
        draw(rows, target.with_suffix(".png"))
        target.write_text(page(summary, rows, target.with_suffix(".png").name))
    click.echo(curve(rows))


if __name__ == "__main__":
    main()

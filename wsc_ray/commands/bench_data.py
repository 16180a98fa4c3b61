"""`wsc-ray bench data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import Option, command


@command(
    "bench data",
    writes="`DIR/summary.json`, `--markdown FILE`",
    describe=lambda summary, dry_run: summary["table"],
)
def bench_data(
    *,
    out: Annotated[str | Path, Option("Folder for summary.json and patches.", metavar="DIR", kind="path")],
    manifest: Annotated[
        str | None,
        Option(
            "Patches to read, labelled negative and otherwise.  [default: drawn ones, JPEG, 224 px]",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    batch_size: Annotated[int, Option("Patches of a global batch.")] = 512,
    cores: Annotated[int | None, Option("Cores that every contender may use.  [default: every core]")] = None,
    rounds: Annotated[int, Option("Rounds, in each of which every contender has a turn.")] = 3,
    planning: Annotated[bool, Option("Also plan a manifest of 10 million rows in 200 files.")] = False,
    quick: Annotated[bool, Option("Tiny sizes, to see that it runs; its figures mean nothing.")] = False,
    markdown: Annotated[str | Path | None, Option("File for the whole page.", metavar="FILE", kind="path")] = None,
) -> dict[str, Any]:
    """Measure patches a second a core.

    Beside it stand a torch DataLoader and decoding alone; waiting while training is measured too.

    Returns:
        The summary, also in `OUT/summary.json`, with the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, or a folder that is taken.
    """
    from wsc_ray.bench.data.run import measure_data

    return measure_data(
        out=out,
        manifest=manifest,
        batch_size=batch_size,
        cores=cores,
        rounds=rounds,
        planning=planning,
        quick=quick,
        markdown=markdown,
    )

"""The page, and the text that the command prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import times
from benchmarks.tile.contenders import LOOP
from wsc_ray.bench.markdown import digits, environment, table

LEGEND = (
    "Patches a second of CPU time and of the wall clock, on one core: opening, reading, encoding (JPEG, quality 90, one encoder for "
    "all) and closing. Median (first to third quartile) over rounds in which everybody has a turn; ratios are taken within each round. The loop is "
    "`OpenSlide.read_region(...).convert('RGB')`, a patch at a time. The patches of both are the same, or the benchmark fails."
)


def rates(speeds: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    """A row a slide and contender.

    Args:
        speeds: slide -> contender -> `cpu`, `wall` and `ratio` (to the loop, CPU time), quartiles of each.
    """
    rows = [
        [
            slide,
            name,
            _spread(found["cpu"]),
            _spread(found["wall"]),
            "" if name == LOOP else times(found["ratio"]["median"]),
        ]
        for slide, of in speeds.items()
        for name, found in of.items()
    ]
    return table(["slide", "", "patches/CPU s", "patches/s", f"x {LOOP}"], rows)


def page(summary: Mapping[str, Any], judged: str) -> str:
    """The whole page; `judged` is the table of targets."""
    sections = [
        "# Cutting patches from slides",
        f"Patches of {summary['settings']['patch']} px at level 0, without overlap, whole rows from the middle of each slide.",
        f"To repeat it: `{summary['invocation']}` on a quiet machine.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        judged,
        "## Rates",
        LEGEND,
        rates(summary["speeds"]),
        "`drawn-*.svs` has tiles of 240 px in JPEG (4:2:0) as Aperio's scanners write them, `drawn-*.tif` deflated ones, which OpenSlide reads for "
        "both. Memory is what cutting a whole slide takes above its start, in a fresh process: a row of tiles is kept "
        "until the next row of patches has used it.",
    ]
    return "\n\n".join(sections) + "\n"


def _spread(quartiles: Mapping[str, float]) -> str:
    return f"{digits(quartiles['median'])} ({digits(quartiles['q1'])}-{digits(quartiles['q3'])})"

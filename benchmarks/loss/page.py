"""The loss benchmark as Markdown: the tables for the terminal, and the whole page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.loss.batch import BASE_TEMPERATURE, PARTS, TEMPERATURE
from benchmarks.loss.compare import MEASURED, Measurement
from benchmarks.loss.contenders import OURS
from benchmarks.markdown import spread, times
from benchmarks.timing import BUDGET, FEWEST_ROUNDS, FILL
from wsc_ray.bench.markdown import environment, size, table
from wsc_ray.bench.verdict import Verdict, targets

TITLES = {
    "weaksupcon": "WeakSupCon, the whole loss: half of the patches pure, half mixed",
    "similarity": "Its similarity half, alone (on the pure half of the batch)",
    "contrastive": "Its contrastive half, NT-Xent, alone (on the mixed half of the batch)",
    "supcon": "SupCon, the baseline: both halves, two labels",
}

LEGEND = (
    "Forward and backward; time is the median (first to third quartile) of interleaved rounds, memory the peak above "
    "what was there before. `8.10x` behind a figure: so many times ours, for times the median of the rounds' ratios. "
    "With several processes, time is the slowest one's and memory the sum."
)


def tables(measurements: Sequence[Measurement]) -> str:
    """A table for each part and number of processes that was measured."""
    parts = []
    for processes in sorted({one.processes for one in measurements}):
        parts.append(f"## {'One process' if processes == 1 else f'{processes} processes'}")
        for part in PARTS:
            here = [one for one in measurements if (one.part, one.processes) == (part, processes)]
            if here:
                parts += [f"### {TITLES[part]}", _table(here)]
    return "\n\n".join(parts)


def _table(here: Sequence[Measurement]) -> str:
    names = list(dict.fromkeys(one.contender for one in here))
    header = ["patches", *[f"{name} {what}" for name in names for what in ("time", "memory")]]
    rows = []
    for patches in sorted({one.patches for one in here}):
        found = {one.contender: one for one in here if one.patches == patches}
        rows.append([f"{patches:,}", *[cell for name in names for cell in _cells(found[name])]])
    return table(header, rows)


def _cells(one: Measurement) -> tuple[str, str]:
    if one.status != MEASURED:
        return one.status, one.status
    took, held = spread(one.seconds["median"], one.seconds["q1"], one.seconds["q3"]), size(one.extra_bytes)
    if one.times is None:
        return took, held
    return f"{took}, {times(one.times['median'])}", held + (f", {times(one.bytes_ratio)}" if one.bytes_ratio else "")


def page(summary: Mapping[str, Any], measurements: Sequence[Measurement], verdicts: Sequence[Verdict]) -> str:
    """The whole page, from a title to the judgement."""
    reading = ", ".join(f"{count} {word}" for word, count in Counter(one.verdict for one in verdicts).items())
    sections = [
        "# Time and memory of the losses",
        f"`{OURS}` beside plain O(N^2) restatements and other libraries' losses at equal value and gradient, on random "
        f"unit vectors of length {summary['settings']['dim']}, float32, two views a patch, temperature {TEMPERATURE}, "
        f"base temperature {BASE_TEMPERATURE}. Equality (to 1e-4, relative) is checked in every case of the run.",
        "With several processes, each holds an equal share of the batch. `wsc-ray` and lightly (`gather_distributed`) "
        "compute their own rows against everybody's; the restatement, and pytorch-metric-learning's "
        "`DistributedLossWrapper` as it comes, compute the whole matrix in every process (its `efficient=True` would "
        "leave out a part of the gradient).",
        f"To repeat it: `pip install '.[bench]'`, then `{summary['invocation']}` on a quiet machine.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        f"Computed from the tables below: {reading}.",
        targets(verdicts),
        "## How to read the tables",
        f"{LEGEND} There are {summary['settings']['repeats']} rounds where they fit into {BUDGET:g} seconds, fewer "
        f"where they do not, {FEWEST_ROUNDS} at the least; a call that takes less than {FILL * 1e3:g} ms is repeated "
        "within its round.",
        f"`needs N GB` was foreseen from the size of the matrices and not tried, `out of memory` was tried; the limit "
        f"was {summary['settings']['memory_limit']:g} GB (GB = 10^9 bytes). Memory is the highest resident set (VmHWM) "
        "of a fresh process a contender and size, less the resident set before, after a run on a few patches.",
        tables(measurements),
    ]
    return "\n\n".join(sections) + "\n"

"""The data benchmark as Markdown: the tables for the terminal, and the whole page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.data.contenders import ALONE, DECODING, NAMES, RAY, REFERENCE
from benchmarks.markdown import spread, times
from wsc_ray.bench.markdown import digits, environment, seconds, table

WHO = (
    f"* {REFERENCE}: PIL decodes, torchvision's transforms make two normalised views, a worker process a core collates; "
    "the JPEG bytes are in memory.",
    f"* {RAY}: from the manifest to uint8 batches in the training worker, with a reader a core.",
    f"* {ALONE}: the same reading and augmenting, in a process a core, without the memory setting of Ray's readers "
    "(`KEEP_MEMORY`).",
    f"* {DECODING}: turbo JPEG (`simplejpeg`) on the same bytes, in a process a core: the limit.",
)
LEGEND = (
    "Median (first to third quartile) over rounds in which everybody has a turn; ratios are taken within each round. "
    "Per core: of wall clock, by the cores that all of them may use. Per CPU second: by what all processes that take "
    "part used, Ray's own and the receiving one too."
)


def rates(speeds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """A row a contender: its rates, and what they are of the reference's and of decoding's.

    Args:
        speeds: contender -> `core` and `cpu` (quartiles of patches a second a core, and a CPU second), and for each of
            the two `core_<contender>` and so on, quartiles of its ratio to another.
    """
    header = ["", "patches/s/core", "x reference", "of decoding", "patches/CPU s", "x reference", "of decoding"]
    rows = []
    for name in NAMES:
        row = [name]
        for per in ("core", "cpu"):
            found = speeds[name]
            row += [
                _rate(found[per]),
                times(found[f"{per}_{REFERENCE}"]["median"]),
                f"{100 * found[f'{per}_{DECODING}']['median']:.0f}%",
            ]
        rows.append(row)
    return table(header, rows)


def _rate(quartiles: Mapping[str, float]) -> str:
    return f"{digits(quartiles['median'])} ({digits(quartiles['q1'])}-{digits(quartiles['q3'])})"


def others(summary: Mapping[str, Any]) -> str:
    """What is not a rate: training, the first batch, planning."""
    training, first, planning = summary["training"], summary["first_batch"], summary["planning"]
    settings = summary["settings"]
    rows = [
        [
            f"training {settings['backbone']} on {settings['crop']} px views, CPU, one worker",
            f"{digits(training['patches_per_second'])} patches/s",
        ],
        [
            "waited for data meanwhile",
            f"{digits(100 * training['waited'], 2)}% of the time, median step "
            f"{digits(100 * training['waited_median'], 2)}% ({training['steps']} steps after the warm-up)",
        ],
        [
            "first batch from a warm Ray",
            spread(first["median"], first["q1"], first["q3"]),
        ],
    ]
    if planning:
        rows += [
            [
                f"planning {settings['plan_rows']:,} rows in {settings['plan_files']} files, by {by}",
                f"{seconds(planning[f'{prefix}seconds'])}, {planning[f'{prefix}peak_mb']:.0f} MB",
            ]
            for by, prefix in (("patch", ""), ("slide", "slide_"))
        ]
    return table(["", ""], rows)


def page(summary: Mapping[str, Any], judged: str) -> str:
    """The whole page; `judged` is the table of targets."""
    settings, facts = summary["settings"], summary["facts"]
    sections = [
        "# Reading patches",
        f"Patches a second, two views of {settings['view']} px of each with the paper's augmentation, from "
        f"{settings['images']}, batches of {settings['batch_size']}:",
        "\n".join(WHO),
        f"To repeat it: `{summary['invocation']}` on a quiet machine.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        judged,
        "## Reading alone",
        LEGEND,
        rates(summary["speeds"]),
        f"A window of {settings['window']} steps reads {digits(facts['rows_read_per_patch'], 2)} rows for each patch "
        f"that it gives ({facts['row_groups']:,} row groups, {facts['patches']:,} patches in the training split).",
        "## While training, and until it begins",
        others(summary),
    ]
    return "\n\n".join(sections) + "\n"


def printed(summary: Mapping[str, Any], judged: str) -> str:
    """What the command prints."""
    parts: Sequence[str] = [rates(summary["speeds"]), LEGEND, others(summary), judged, *summary["notes"]]
    return "\n\n".join(parts)

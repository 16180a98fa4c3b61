"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.duplicates.copies import NONE, SHIFT
from benchmarks.duplicates.size import NOISE, WIDTH
from wsc_ray.bench.markdown import environment, seconds, size, table
from wsc_ray.neighbours.duplicates import ALIKE, COPY


def table_of(summary: Mapping[str, Any]) -> str:
    """Return the table with one line for each kind of copy."""
    rows = []
    for what, found in summary["copies"].items():
        shares = ("-", "-") if what == NONE else (f"{found['slides']:.1%}", f"{found['patches']:.1%}")
        rows.append([what, *shares, str(found["wrong"])])
    return table(["copy", "slides found", "patches found by themselves", "pairs named that are no copies"], rows)


def cost_of(summary: Mapping[str, Any]) -> str:
    """Return the table of what the search costs, with one line for each number of patches."""
    rows = [
        [
            f"{each['patches']:,}",
            "every patch" if each["exact"] else "cells",
            size(each["vectors_bytes"]),
            size(each["index_bytes"]),
            seconds(each["index_seconds"]),
            seconds(each["search_seconds"] / each["queries"]),
            seconds(each["search_seconds"] / each["queries"] * each["patches"]),
            f"{each['recall']:.3f}",
            f"{each['again']:.3f}",
        ]
        for each in summary["sizes"]
    ]
    head = ["patches", "searched", "features", "more memory at the peak", "index", "one search", "all searches"]
    return table([*head, "recall@10 as printed", "of 1,000 searches"], rows)


def page(summary: Mapping[str, Any]) -> str:
    """Return the whole page."""
    sections = [
        "# Copies of slides, found by their features",
        "What `wsc-ray manifest check MANIFEST --features DIR` finds and what it names wrongly, on a cohort in which some slides were copied under new "
        "patients; and what the search costs among many patches.",
        f"To repeat it: `pip install '.[cpu]'`, then `{summary['invocation']}`.",
        environment(summary),
        *summary["remarks"],
        "## Copies",
        f"The table and the encoder are those of the command: {summary['patches']:,} patches of {summary['slides']:,} slides. {summary['copied']} slides are copied, and each kind of "
        f"copy is looked for by itself among all slides. Patches are cropped by {SHIFT} px at the right and below, so that those of a shifted copy show a strip that the "
        "others do not.",
        table_of(summary),
        f"`wsc_ray/neighbours/duplicates.py` has the rule: a patch whose nearest patch of another patient has a chance below {COPY:g} shows a copy by itself, and several below "
        f"{ALIKE:g} make a pair of slides. False alarms are among {summary['pairs']:,} pairs of slides of different patients; some may be "
        "true copies in the table that nobody has listed.",
    ]
    if summary["sizes"]:
        sections += [
            "## Many patches",
            f"Features of {WIDTH} dimensions, as ResNet-18's. Each is that of a real patch above, turned to {WIDTH} dimensions by one random matrix, plus noise of "
            f"{NOISE:g} times its length. *More memory* is what making the index takes beside the features. *All searches* is the time of one search times their number. "
            "*Recall* is the share of the true 10 nearest that are found: as the command prints it, from 200 searches, and of 1,000 others.",
            cost_of(summary),
        ]
    return "\n\n".join(sections) + "\n"

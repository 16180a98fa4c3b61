"""The coverage benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsc_ray.bench.markdown import environment, table
from wsc_ray.bench.verdict import Verdict, targets


def table_of(scenarios: Sequence[Mapping[str, Any]]) -> str:
    """Return the coverage as a table, with a row for each scenario and way of resampling."""
    rows = []
    for one in scenarios:
        for way, covered in one["covered"].items():
            cells = [f"{covered[metric]:.1%} ({one['widths'][way][metric]:.3f})" for metric in covered]
            rows.append([one["name"], way, *cells])
    return table(["scenario", "resampled", "AUROC", "balanced accuracy"], rows)


def page(summary: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """Return the whole page."""
    settings = summary["settings"]
    truths = table(
        ["scenario", "AUROC", "balanced accuracy", "DeLong's p below 0.05 without a difference"],
        [
            [one["name"], *(f"{value:+.4f}" for value in one["truth"].values()), f"{one['delong_rejects']:.1%}"]
            for one in summary["scenarios"]
        ],
    )
    sections = [
        "# How often intervals cover",
        f"{settings['repetitions']} cohorts of each kind are drawn, with two results whose true difference is known in closed form "
        "(`benchmarks/coverage/simulate.py` says how). `evaluate --compare` gives each difference an interval of 95%, from "
        f"{settings['samples']:,} draws; counted is how often it holds the truth.",
        f"To repeat it: `{summary['invocation']}`.",
        environment(summary),
        "## Targets",
        targets(verdicts),
        "## Coverage",
        "In brackets: the mean width. Below ours stands what comes of the same draws when slides of a patient are taken as "
        "independent, and when the members' mean is taken as one fit: intervals that are too short. The last scenario has no target: it shows "
        "what few patients cost.",
        summary["table"],
        "## The differences, and DeLong's test",
        "The last column should be 5%: cohorts of the same kind whose two results do not differ, without noise of seeds, which DeLong's "
        "test does not know.",
        truths,
    ]
    return "\n\n".join(sections) + "\n"

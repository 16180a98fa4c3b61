"""Formatting the results of probes as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.evaluate.describe import metric_table, openings_sentence


def describe_probes(summary: Mapping[str, Any]) -> str:
    """Return a summary as text: a table with one column per level and probe, then the figures of the site."""
    draws = summary["bootstrap"]
    columns = {
        f"{level}, {probe}": result["metrics"]
        for level, probes in summary["probes"].items()
        for probe, result in probes.items()
    }
    names = dict.fromkeys(name for metrics in columns.values() for name in metrics)
    counts = [
        f"{result['linear']['samples']:,} {level} of {result['linear']['patients']} patients"
        for level, result in summary["probes"].items()
    ]
    lines = [
        f"features  {summary['features']}",
        f"learned   from {summary['learned_from']}; measured on {summary['measured_on']}: {', '.join(counts)}",
        "",
        f"{draws['confidence']:.0%} intervals from {draws['samples']:,} draws of patients; {summary['neighbours']} neighbours",
        *metric_table(columns, names),
    ]
    site = summary["site"]
    if site:
        lines += [
            "",
            f"features predict the site of slides with a balanced accuracy of {site['site_balanced_accuracy']:.3f} ({site['sites']} sites, by chance "
            f"{site['chance']:.3f})",
        ]
        if "robustness_index" in site:
            lines.append(
                f"robustness index {site['robustness_index']:.3f} ({site['neighbours']} neighbours, of {site['support']:.0%} of slides); "
                "above 0.5 neighbours share the label rather than the site"
            )
    if summary["ledger"]:
        lines += ["", openings_sentence(summary["ledger"])]
    return "\n".join([*lines, *(["", *summary["notes"]] if summary["notes"] else [])])

"""The comparison of encoders as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsc_ray.bench.markdown import environment, table
from wsc_ray.evaluate.describe import metric_name

METRICS = ("auroc", "balanced_accuracy", "auprc", "brier")


def table_of(summary: Mapping[str, Any]) -> str:
    """Return each encoder's metrics with their intervals as a table."""
    rows = []
    for name, result in summary["results"].items():
        cells = [_interval(result["metrics"][metric]) for metric in METRICS]
        rows.append([name, *cells, _interval(result["attention"]["auroc"]) if result.get("attention") else "not asked"])
    return table(["features", *map(metric_name, METRICS), "attention finds tumour patches (AUROC)"], rows)


def page(summary: Mapping[str, Any]) -> str:
    """Return the whole page."""
    tune = summary["recipe"]["tune"]
    first = next(iter(summary["results"].values()))
    sections = [
        "# Features of four encoders on the same slides",
        f"The cohort is PatchCamelyon in pseudo-slides. Encoders see its training slides only; heads are searched and measured on the other {first['slides']}, "
        f"in {summary['folds']} folds of patients (`cohort folds`). Each fold has a search of its own on the slides of the other folds: {tune['trials']} trials over "
        f"{', '.join(tune['heads'])} and their settings by Optuna's TPE with ASHA. The mean of {tune['seeds']} fits of the chosen setting, a seed each, predicts the fold. "
        "`imagenet` are frozen features of EfficientNet-Lite0 at "
        f"{summary['pixels']} px, `weaksupcon` and `simclr` adapters of these that were trained on {summary['views']} views of each patch with the same settings, "
        "`untrained` the same network with random weights.",
        environment(summary),
        "## Metrics",
        "All slides together, with 95% intervals over patients and seeds; [docs/statistics.md](../docs/statistics.md) defines them.",
        table_of(summary),
        "## Differences",
        "Paired, on shared resamples; p of AUROC is DeLong's, adjusted by Holm's method over the pairs.",
        _differences(summary),
        "## Chosen heads",
        _chosen(summary),
    ]
    return "\n\n".join(sections) + "\n"


def _differences(summary: Mapping[str, Any]) -> str:
    rows = []
    for row in summary["differences"]:
        if row["metric"] in ("auroc", "balanced_accuracy"):
            first, second = (Path(row[key]).parent.name for key in ("a", "b"))  # OUT/<encoder>/evaluate
            interval = f"{row['low']:+.3f} to {row['high']:+.3f}"
            rows.append(
                [
                    metric_name(row["metric"]),
                    f"{first} - {second}",
                    f"{row['value']:+.3f}",
                    interval,
                    "below 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}",
                ]
            )
    return table(["metric", "features", "difference", "95% interval", "p (Holm)"], rows)


def _chosen(summary: Mapping[str, Any]) -> str:
    searches = {name: search["searches"] for name, search in summary["searches"].items()}
    folds = list(next(iter(searches.values())))
    rows = [[name, *(search[fold]["best"]["head"] for fold in folds)] for name, search in searches.items()]
    return table(["features", *(f"fold {fold}" for fold in folds)], rows)


def _interval(metric: Mapping[str, Any]) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f}-{metric['high']:.3f})"

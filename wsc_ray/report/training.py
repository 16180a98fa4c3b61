"""The curves of a training, from `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from wsc_ray.report.charts import Chart, Table, by_run, number, quantitative, sized
from wsc_ray.report.collect import Facts

POINTS = 300  # of a curve at most; longer curves show means of neighbouring lines

# key: title, label of the axis, how to read the chart
CURVES = {
    "loss": ("Loss", "loss", "The whole loss of the global batch."),
    "similarity": ("Loss of pure patches", "similarity half", "Falls as patches of pure slides are pulled together."),
    "contrastive": ("Loss of mixed patches", "contrastive half", "Falls as the encoder separates patches."),
    "similarity_weight": ("Weight of the similarity half", "weight", "How much of that half counts."),
    "effective_rank": (
        "Effective rank",
        "dimensions",
        "How many dimensions features use; near 1 they have collapsed to a line.",
    ),
    "alignment": ("Alignment", "alignment", "Distance of two views of a patch: the lower, the more alike."),
    "uniformity": ("Uniformity", "uniformity", "How evenly features fill the sphere: the lower, the more evenly."),
    "mean_cosine": ("Mean cosine", "cosine", "Of different patches; at 1 all features are the same."),
    "lr": ("Learning rate", "learning rate", ""),
    "patches_per_second": ("Throughput", "patches/s", "Patches that all workers together took in a second."),
    "data_wait_fraction": ("Waiting for data", "share of time", "Share of a step that workers waited for patches."),
    "workers": ("Workers", "workers", "Those that trained; they may come and go."),
}
_CONSTANT = ("workers", "similarity_weight", "lr")  # shown only if they change


def training_charts(results: Sequence[Facts]) -> list[Chart]:
    """Return a chart for each quantity that any result has logged."""
    return [chart for key in CURVES if (chart := _chart(key, results)) is not None]


def _chart(key: str, results: Sequence[Facts]) -> Chart | None:
    title, axis, note = CURVES[key]
    curves = {each.name: curve for each in results if (curve := points(each.metrics, key))}
    values = {value for curve in curves.values() for _, value in curve}
    if not curves or (key in _CONSTANT and len(values) < 2):
        return None
    rows = [{"run": run, "step": step, "value": value} for run, curve in curves.items() for step, value in curve]
    spec = {
        "data": {"name": "curve"},
        "mark": {"type": "line", "tooltip": True, "point": len(rows) < 3},
        "encoding": {
            "x": quantitative("step", "step"),
            "y": quantitative("value", axis),
            **by_run([each.name for each in results], list(curves)),
        },
    }
    table = Table(
        ("run", "first step", "first", "lowest", "highest", "last", "last step"),
        [
            [
                run,
                curve[0][0],
                number(curve[0][1]),
                number(min(value for _, value in curve)),
                number(max(value for _, value in curve)),
                number(curve[-1][1]),
                curve[-1][0],
            ]
            for run, curve in curves.items()
        ],
    )
    told = [
        f"of {run} from {number(curve[0][1])} at step {curve[0][0]:,} to {number(curve[-1][1])} at step {curve[-1][0]:,}"
        for run, curve in curves.items()
    ]
    return Chart(title, f"{title}: {'; '.join(told)}.", sized(spec, 160), {"curve": rows}, table, note)


def points(metrics: Sequence[Mapping[str, float]], key: str) -> list[tuple[int, float]]:
    """Return the steps and values of a quantity; a long curve is divided into `POINTS` parts, each given by its mean at its last step."""
    known = [(int(line["step"]), float(line[key])) for line in metrics if key in line and math.isfinite(line[key])]
    if len(known) <= POINTS:
        return known
    return [
        (known[part[-1]][0], float(np.mean([known[place][1] for place in part])))
        for part in np.array_split(np.arange(len(known)), POINTS)
    ]

"""How well predictions tell labels apart: ROC and precision-recall with bootstrap bands, reliability, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from wsc_ray.evaluate.bootstrap import Resample, bootstrap
from wsc_ray.evaluate.describe import metric_name
from wsc_ray.evaluate.predictions import Predictions
from wsc_ray.report.charts import SHAPES, Chart, Table, by_run, number, quantitative, sized, thinned
from wsc_ray.report.collect import Facts

GRID = np.linspace(0, 1, 101)
DRAWS = 200  # bootstrap samples of a band
_RATES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)  # at which the table beside a curve has a row


@dataclass(frozen=True, eq=False)
class Band:
    """A curve at `GRID`, and what the middle of its bootstrap samples spans, (101,) each; NaN where it is not defined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bands(predictions: Predictions, *, confidence: float, seed: int = 0, draws: int = DRAWS) -> tuple[Band, Band]:
    """The ROC curve (sensitivity at a false positive rate) and the precision-recall curve (precision at a recall).

    Of two classes they are the second's; of more, the mean over the classes of each against the rest, whose area is the
    macro average that `evaluate` measures. Bands are of patients and members drawn together, as `evaluate` draws them.
    """
    labels = np.array([predictions.classes.index(predictions.labels[slide]) for slide in predictions.slides])
    patients = [predictions.patients.get(slide, f"slide {slide}") for slide in predictions.slides]
    chosen = [1] if len(predictions.classes) == 2 else [*range(len(predictions.classes))]

    def statistic(draw: Resample) -> dict[str, np.ndarray]:
        given = draw.probabilities(predictions.members)
        rows = []
        for number_, weights in enumerate(draw.weights):
            one = given if given.ndim == 2 else given[number_]
            rows.append(np.mean([_curves(labels == c, one[:, c], weights) for c in chosen], axis=0))
        return {str(place): values for place, values in enumerate(np.stack(rows, axis=1))}  # 202 values of s samples

    whole = Resample(np.ones((1, len(labels))), (np.ones((1, len(predictions.members))),))
    values = np.array([each[0] for each in statistic(whole).values()])
    found = bootstrap(statistic, patients, [predictions.members], samples=draws, confidence=confidence, seed=seed)
    low, high = (np.clip([getattr(found[str(n)], end) for n in range(len(values))], 0, 1) for end in ("low", "high"))
    half = len(GRID)
    return Band(values[:half], low[:half], high[:half]), Band(values[half:], low[half:], high[half:])


def _curves(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sensitivity and then precision at `GRID`, (202,); NaN where slides of one kind are left."""
    if not weights[truth].sum() or not weights[~truth].sum():
        return np.full(2 * len(GRID), np.nan)
    wrong, right, _ = roc_curve(truth, score, sample_weight=weights, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(truth, score, sample_weight=weights)
    # scikit-learn ends with recall 0 and precision 1, which no threshold gives.
    precision, recall = precision[-2::-1], recall[-2::-1]
    at = np.minimum(np.searchsorted(recall, GRID - 1e-12), len(recall) - 1)
    return np.concatenate([np.interp(GRID, wrong, right), precision[at]])


def curve_charts(results: Sequence[Facts]) -> list[Chart]:
    """The ROC and the precision-recall curves of the results that are evaluated."""
    runs = [each.name for each in results]
    known = {each.name: each for each in results if each.predictions is not None}
    found = {
        name: bands(each.predictions, confidence=each.evaluated["bootstrap"]["confidence"])
        for name, each in known.items()
        if each.predictions is not None and set(each.predictions.slides) <= set(each.predictions.labels)
    }
    if not found:
        return []
    many = any(len(each.classes) > 2 for each in known.values())
    whose = "Mean over the labels of each against the rest." if many else ""
    level = next(iter(known.values())).evaluated["bootstrap"]["confidence"]
    band = f"The band holds {level:.0%} of {DRAWS} bootstrap samples of patients and members, at each place by itself."
    roc = _curve_chart(
        "ROC",
        runs,
        {name: each[0] for name, each in found.items()},
        ("false positive rate", "sensitivity"),
        {name: each.evaluated["metrics"].get("auroc", {}) for name, each in known.items()},
        "AUROC",
        f"{whose} {band} The dotted line is chance.".strip(),
        chance=True,
    )
    precision = _curve_chart(
        "Precision and recall",
        runs,
        {name: each[1] for name, each in found.items()},
        ("recall", "precision"),
        {name: each.evaluated["metrics"].get("auprc", {}) for name, each in known.items()},
        "AUPRC",
        f"{whose} {band}".strip(),
        chance=False,
    )
    return [roc, precision]


def _curve_chart(
    title: str,
    runs: Sequence[str],
    found: Mapping[str, Band],
    axes: tuple[str, str],
    areas: Mapping[str, Mapping[str, float]],
    area: str,
    note: str,
    *,
    chance: bool,
) -> Chart:
    rows, table = [], []
    for run, band in found.items():
        known = ~np.isnan(band.value)
        if chance and known.any():
            rows.append({"run": run, "x": 0.0, "y": 0.0, "low": 0.0, "high": 0.0})
        for x, y, low, high in zip(GRID, band.value, band.low, band.high, strict=True):
            if np.isnan([y, low, high]).any() or (x == 0 and not chance):  # at recall 0 there is no precision
                continue
            values = {"x": x, "y": y, "low": low, "high": high}
            rows.append({"run": run, **{key: round(float(value), 4) for key, value in values.items()}})
            if any(abs(x - rate) < 1e-9 for rate in _RATES):
                table.append([run, number(x, 1), number(y), f"{number(low)} to {number(high)}"])
    x, y = quantitative("x", axes[0], (0, 1)), quantitative("y", axes[1], (0, 1))
    colours = by_run(runs, list(found))
    layers = [
        {
            "mark": {"type": "area", "opacity": 0.16},
            "encoding": {
                "x": x,
                "y": {**y, "field": "low"},
                "y2": {"field": "high"},
                "color": colours["color"],
            },
        },
        {"mark": {"type": "line", "tooltip": True}, "encoding": {"x": x, "y": y, "order": {"field": "x"}, **colours}},
    ]
    data = {"curve": rows}
    if chance:
        data["chance"] = [{"x": 0, "y": 0}, {"x": 1, "y": 1}]
        line = {"type": "line", "color": "#888888", "strokeDash": [2, 3], "strokeWidth": 1}
        layers.append({"data": {"name": "chance"}, "mark": line, "encoding": {"x": x, "y": y}})
    told = [f"{run} {area} {interval_text(areas[run])}" for run in found]
    spec = sized({"data": {"name": "curve"}, "layer": layers}, 300)
    return Chart(
        title,
        f"{title} curve: {'; '.join(told)}.",
        spec,
        data,
        Table(("run", axes[0], axes[1], "interval"), table),
        note,
    )


def reliability_chart(results: Sequence[Facts]) -> Chart | None:
    """How often a predicted probability comes true."""
    rows = [
        {"run": each.name, "predicted": bin_["predicted"], "observed": bin_["observed"], "slides": bin_["slides"]}
        for each in results
        for bin_ in each.evaluated.get("reliability", ())
    ]
    if not rows:
        return None
    colours = by_run([each.name for each in results], list(dict.fromkeys(str(row["run"]) for row in rows)))
    x, y = quantitative("predicted", "predicted probability", (0, 1)), quantitative("observed", "came true", (0, 1))
    size = {"field": "slides", "type": "quantitative", "scale": {"range": [25, 260]}, "legend": None}
    spec = sized(
        {
            "data": {"name": "bins"},
            "layer": [
                {
                    "data": {"name": "chance"},
                    "mark": {"type": "line", "color": "#888888", "strokeDash": [2, 3], "strokeWidth": 1},
                    "encoding": {"x": x, "y": y},
                },
                {"mark": {"type": "line", "opacity": 0.6}, "encoding": {"x": x, "y": y, **colours}},
                {
                    "mark": {"type": "point", "filled": True, "tooltip": True},
                    "encoding": {"x": x, "y": y, "size": size, "color": colours["color"]},
                },
            ],
        },
        300,
    )
    told = [
        f"{each.name} calibration error {interval_text(each.evaluated['metrics'].get('ece', {}))}"
        for each in results
        if each.evaluated
    ]
    table = [[row["run"], number(row["predicted"]), number(row["observed"]), row["slides"]] for row in rows]
    data = {"bins": rows, "chance": [{"predicted": 0, "observed": 0}, {"predicted": 1, "observed": 1}]}
    return Chart(
        "Calibration",
        f"Reliability curve: {'; '.join(told)}.",
        spec,
        data,
        Table(("run", "predicted", "came true", "slides"), thinned(table)),
        "Slides in ten bins of their predicted probability; larger points hold more slides. On the dotted line a probability "
        "comes true as often as it says.",
    )


HEADLINE = (
    "balanced_accuracy",
    "auroc",
    "auprc",
    "sensitivity",
    "specificity",
    "f1",
)  # between 0 and 1, the higher the better


def interval_chart(results: Sequence[Facts]) -> Chart | None:
    """The main metrics of every result with their intervals."""
    runs = [each.name for each in results]
    rows = [
        {"run": each.name, "metric": metric_name(name), **{key: entry[key] for key in ("value", "low", "high")}}
        for each in results
        for name in HEADLINE
        if (entry := each.evaluated.get("metrics", {}).get(name)) and None not in (entry["low"], entry["high"])
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(row["metric"] for row in rows))
    y = {"field": "metric", "type": "nominal", "sort": names, "axis": {"title": None, "labelLimit": 140}}
    offset = {"field": "run", "type": "nominal", "sort": runs}
    x = quantitative("value", "value, with its interval", (0, 1))
    known = list(dict.fromkeys(row["run"] for row in rows))
    colour = by_run(runs, known, dashed=False)["color"]
    common = {"y": y, "yOffset": offset, "color": colour}
    shape = {"domain": runs, "range": [SHAPES[n % len(SHAPES)] for n in range(len(runs))]}
    legend = colour["legend"]
    spec = {
        "data": {"name": "metrics"},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, **common},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "tooltip": True, "opacity": 1},
                "encoding": {
                    "x": x,
                    **common,
                    "shape": {"field": "run", "type": "nominal", "scale": shape, "legend": legend},
                },
            },
        ],
    }
    told = [f"{row['run']} {row['metric']} {interval_text(row)}" for row in rows]
    height = max(150, len(names) * (18 + 12 * len(runs)))
    return Chart("Metrics with intervals", f"{'; '.join(told)}.", sized(spec, height), {"metrics": rows}, wide=True)


def interval_text(entry: Mapping[str, float | None]) -> str:
    """`0.931 (0.870 to 0.987)`."""
    if not entry or entry.get("value") is None:
        return "not defined"
    if entry.get("low") is None or entry.get("high") is None:
        return number(entry["value"])
    return f"{number(entry['value'])} ({number(entry['low'])} to {number(entry['high'])})"

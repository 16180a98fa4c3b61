"""Charts of predictions: ROC, precision-recall, reliability, and metrics with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wsc_ray.evaluate.describe import metric_name
from wsc_ray.report.charts import SHAPES, Chart, Table, by_run, number, quantitative, sized, thinned
from wsc_ray.report.collect import Facts
from wsc_ray.report.curves import DRAWS, GRID, Band, bands

_RATES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)  # abscissae in the table beside a curve


def curve_charts(results: Sequence[Facts]) -> list[Chart]:
    """Return the ROC and precision-recall curves of the evaluated results; none if there are none."""
    runs = [each.name for each in results]
    known = {each.name: each for each in results if each.predictions is not None}
    found = {
        name: bands(each.predictions, confidence=each.evaluated["bootstrap"]["confidence"])
        for name, each in known.items()
        if each.predictions is not None and set(each.predictions.slides) <= set(each.predictions.labels)
    }
    found = {
        name: both for name, both in found.items() if not np.isnan(both[0].value).all()
    }  # slides of one label only
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
            if np.isnan([y, low, high]).any() or (x == 0 and not chance):  # precision is undefined at recall 0
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
    """Return the chart of how often a predicted probability comes true; None without an evaluation."""
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
    """Return the chart of every result's main metrics with their intervals; None if there are none."""
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
    """Return a metric as text, such as `0.931 (0.870 to 0.987)`."""
    if not entry or entry.get("value") is None:
        return "not defined"
    if entry.get("low") is None or entry.get("high") is None:
        return number(entry["value"])
    return f"{number(entry['value'])} ({number(entry['low'])} to {number(entry['high'])})"

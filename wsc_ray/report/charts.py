"""Charts as Vega-Lite specifications (https://vega.github.io/vega-lite/), each with a text for people who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Each colour has a contrast of 3:1 at least with the white and with the dark page; dash and shape also tell neighbours apart.
COLOURS = ("#2f7ed8", "#c8580c", "#2a9147", "#b0469c", "#8a6d00", "#6168d8", "#c2374a", "#008c95")
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4], [1, 3], [6, 2, 1, 2])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
ROWS = 60  # rows of a table beside a chart at most; longer tables are thinned
HEIGHT = 220  # px

# Text takes the page's colour, so that it is readable on the light page, on the dark one and in print.
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "#88888840",
        "domainColor": "#888888",
        "tickColor": "#888888",
    },
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "top",
        "direction": "horizontal",
        "columns": 3,
        "labelLimit": 160,
        "symbolOpacity": 1,
    },
    "line": {"strokeWidth": 2},
    "text": {"color": "currentColor"},
}


@dataclass(frozen=True)
class Table:
    """A table: headings, and rows of cells."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        title: what the chart shows.
        summary: the same in a sentence with the figures, for screen readers.
        spec: the Vega-Lite specification, without data.
        data: the name of a data source in `spec` -> its rows.
        table: the figures behind the chart.
        note: how to read the chart.
        wide: whether it takes the page's whole width.
    """

    title: str
    summary: str
    spec: Mapping[str, Any]
    data: Mapping[str, Sequence[Mapping[str, Any]]]
    table: Table | None = None
    note: str = ""
    wide: bool = field(default=False)


def by_run(runs: Sequence[str], shown: Sequence[str] | None = None, *, dashed: bool = True) -> dict[str, Any]:
    """Return the encoding that tells runs apart; a run has the same colour in every chart.

    Args:
        runs: all runs of the report; with only one there is no legend.
        shown: the runs of this chart, which its legend names; by default all.
        dashed: whether to tell runs apart by dashes too, for lines.
    """
    line = {"symbolType": "stroke"} if dashed else {}
    values = list(runs if shown is None else shown)
    legend = {"title": None, "values": values, **line} if len(runs) > 1 else None
    scale = {"domain": list(runs), "range": [COLOURS[n % len(COLOURS)] for n in range(len(runs))]}
    found: dict[str, Any] = {"color": {"field": "run", "type": "nominal", "scale": scale, "legend": legend}}
    if dashed:
        dashes = {"domain": list(runs), "range": [DASHES[n % len(DASHES)] for n in range(len(runs))]}
        found["strokeDash"] = {"field": "run", "type": "nominal", "scale": dashes, "legend": legend}
    return found


def quantitative(name: str, title: str, domain: Sequence[float] | None = None, **options: Any) -> dict[str, Any]:
    """Return the encoding of a channel of numbers."""
    scale: dict[str, Any] = {"zero": False, "nice": domain is None}
    if domain is not None:
        scale["domain"] = list(domain)
    axis = {"title": title, "tickCount": 5, **options}
    return {"field": name, "type": "quantitative", "scale": scale, "axis": axis}


def sized(spec: Mapping[str, Any], height: int = HEIGHT) -> dict[str, Any]:
    """Return a spec that is as wide as the figure around it, `height` px high."""
    return {"width": "container", "height": height, "autosize": {"type": "fit", "contains": "padding"}, **spec}


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text for people; a dash if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    if value and (abs(value) >= 10_000 or abs(value) < 10**-digits):
        return f"{value:.2g}" if abs(value) < 1 else f"{value:,.0f}"
    return f"{value:,.{digits}f}"


def thinned(rows: Sequence[Any], most: int = ROWS) -> list[Any]:
    """Return at most `most` of the rows, evenly spread, with the first and the last."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]

"""Charts as Vega-Lite specifications (https://vega.github.io/vega-lite/), each with its text for who does not see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Each is told from white and from the dark page by 3:1 at least, and from its neighbours by its dash and its shape as well.
COLOURS = ("#2f7ed8", "#c8580c", "#2a9147", "#b0469c", "#8a6d00", "#6168d8", "#c2374a", "#008c95")
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4], [1, 3], [6, 2, 1, 2])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
ROWS = 60  # of a table beside a chart; more are sampled
HEIGHT = 220  # px

# Text takes the page's colour, so that it is right in the light, in the dark and in print.
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
    """Rows of cells under their headings."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        title: what it shows.
        summary: the same in a sentence with its figures, for a screen reader.
        spec: Vega-Lite, without data of its own.
        data: rows by the name that the spec calls them.
        table: the figures behind it.
        note: how to read it.
    """

    title: str
    summary: str
    spec: Mapping[str, Any]
    data: Mapping[str, Sequence[Mapping[str, Any]]]
    table: Table | None = None
    note: str = ""
    wide: bool = field(default=False)


def by_run(runs: Sequence[str], shown: Sequence[str] | None = None, *, dashed: bool = True) -> dict[str, Any]:
    """The encoding that tells runs apart, by the same colour in every chart.

    Args:
        runs: all of the report's.
        shown: those of the chart, which its legend names; with one run in the report there is nothing to tell.
        dashed: by dashes as well, for lines.
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
    """A channel of numbers."""
    scale: dict[str, Any] = {"zero": False, "nice": domain is None}
    if domain is not None:
        scale["domain"] = list(domain)
    axis = {"title": title, "tickCount": 5, **options}
    return {"field": name, "type": "quantitative", "scale": scale, "axis": axis}


def sized(spec: Mapping[str, Any], height: int = HEIGHT) -> dict[str, Any]:
    """A spec as wide as its figure."""
    return {"width": "container", "height": height, "autosize": {"type": "fit", "contains": "padding"}, **spec}


def number(value: float | None, digits: int = 3) -> str:
    """A value as people read it; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    if value and (abs(value) >= 10_000 or abs(value) < 10**-digits):
        return f"{value:.2g}" if abs(value) < 1 else f"{value:,.0f}"
    return f"{value:,.{digits}f}"


def thinned(rows: Sequence[Any], most: int = ROWS) -> list[Any]:
    """At most so many of the rows, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]

"""From what is known to one HTML file: a template that escapes everything, and charts as data beside Vega-Lite, inlined once.

A browser is told to run these scripts alone and to ask nobody for anything (Content-Security-Policy), so that an id which looks
like HTML stays text, and the page can be opened where a cohort may not leave.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from wsc_ray.report.charts import CONFIG, Chart, Table
from wsc_ray.report.slide_cards import Card


@dataclass(frozen=True)
class ResultPage:
    """What the page says of one result."""

    name: str
    tiles: Sequence[tuple[str, str, str]]
    measured: str | None
    openings: str | None
    notes: Sequence[str]
    missing: Sequence[str]
    confusion: dict[str, Any] | None
    lineage: Sequence[tuple[str, str]]
    recipe: str | None


@dataclass(frozen=True)
class Report:
    """A page.

    Attributes:
        title: names what it is of.
        made: when and by what.
        compared: what to know before results are compared.
        metrics, intervals, training, curves, maps: sections; one that is empty stands there as its sentence of `absent`.
        cards: of slides; `sampled` says which, where there are more.
        absent: by section, why it is empty.
    """

    title: str
    made: str
    results: Sequence[ResultPage]
    compared: str | None = None
    metrics: Table | None = None
    intervals: Chart | None = None
    training: Sequence[Chart] = ()
    curves: Sequence[Chart] = ()
    cards: Sequence[Card] = ()
    sampled: str = ""
    maps: Sequence[Chart] = ()
    mapped: str = ""
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def charts(self) -> list[Chart]:
        """In the order in which the page has them."""
        return [*([self.intervals] if self.intervals else []), *self.training, *self.curves, *self.maps]


def render(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("wsc_ray.report", "page"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    places = {id(chart): number for number, chart in enumerate(report.charts)}
    scripts = [_bundle(), _file("page.js")] if report.charts else []
    return environment.get_template("page.html").render(
        report=report,
        style=_file("page.css"),
        scripts=scripts,
        sources=" ".join(f"'sha256-{_sha256(each)}'" for each in scripts) or "'none'",
        charts=_as_data(report.charts),
        chart_id=lambda chart: f"chart-{places[id(chart)]}",
    )


def _prose(text: str) -> Markup:
    """A sentence, escaped, that begins and ends as one; what is between backticks is code."""
    parts = f"{text[:1].upper()}{text[1:]}".split("`")
    parts[-1] += "" if parts[-1].endswith((".", ":", "!", "?")) else "."
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(each) if number % 2 else escape(each) for number, each in enumerate(parts)
    )


def _as_data(charts: Sequence[Chart]) -> dict[str, Any]:
    """What the page's script draws: the specs, and each table of rows once, however many charts show it."""
    rows: dict[str, Any] = {}
    names: dict[str, str] = {}
    specs = []
    for number, chart in enumerate(charts):
        sources = {}
        for name, values in chart.data.items():
            text = json.dumps(values, allow_nan=False)
            sources[name] = names.setdefault(text, f"rows-{len(names)}")
            rows[sources[name]] = values
        specs.append({"id": f"chart-{number}", "spec": chart.spec, "sources": sources})
    return {"charts": specs, "rows": rows, "config": CONFIG}


@lru_cache(maxsize=1)
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the package that ships them."""
    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its types say that a snippet has to be given


def _file(name: str) -> str:
    return (files("wsc_ray.report") / "page" / name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

"""The HTML file: a template that escapes everything, with Vega-Lite inlined once and the charts as data beside it.

The page's Content-Security-Policy allows only these scripts and no requests. An id that looks like HTML therefore stays text, and the
page can be opened where no data of the cohort may leave.
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

from wsc_ray.report.answer_page import AnswerPage
from wsc_ray.report.cards import Card
from wsc_ray.report.charts import CONFIG, Chart, Table


@dataclass(frozen=True)
class ResultPage:
    """The content of the page for one result."""

    name: str
    tiles: Sequence[tuple[str, str, str]]
    measured: str | None
    openings: str | None
    notes: Sequence[str]
    missing: Sequence[str]
    confusion: dict[str, Any] | None
    lineage: Sequence[tuple[str, str]]
    recipe: str | None
    answers: AnswerPage | None = None


@dataclass(frozen=True)
class Report:
    """The content of a page.

    Attributes:
        title: the title, with the names of the results.
        made: when the page was made, and by which version.
        compared: what to know before comparing results.
        metrics, intervals, training, curves, maps: sections; an empty one is replaced by its sentence in `absent`.
        cards: the slides; `sampled` says which of the test slides they are.
        mapped: a sentence on the patches of `maps`.
        absent: section -> why it is empty.
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
        """All charts, in the order of the page."""
        scores = [each.answers.chart for each in self.results if each.answers and each.answers.chart]
        return [*([self.intervals] if self.intervals else []), *scores, *self.training, *self.curves, *self.maps]


def render(report: Report) -> str:
    """Return the page as HTML."""
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
    """Return a text as an escaped sentence, with a capital letter and a full stop; text between backticks becomes code."""
    parts = f"{text[:1].upper()}{text[1:]}".split("`")
    parts[-1] += "" if parts[-1].endswith((".", ":", "!", "?")) else "."
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(each) if number % 2 else escape(each) for number, each in enumerate(parts)
    )


def _as_data(charts: Sequence[Chart]) -> dict[str, Any]:
    """Return the data for the page's script: the specs, and each table of rows once, however many charts use it."""
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
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the package that ships them."""
    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # the library's types wrongly require a snippet


def _file(name: str) -> str:
    return (files("wsc_ray.report") / "page" / name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

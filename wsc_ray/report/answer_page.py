"""The parts of the page that show a prediction: figures, a chart, and tables of slides. Without labels nothing says how right it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.report.answers import Answer, Answers
from wsc_ray.report.charts import COLOURS, Chart, Table, number, quantitative, sized, thinned

ROWS = 500  # slides of a table at most
POINTS = 1000  # slides of a chart at most
_FEW = 10  # slides of a chart whose axis has a tick for each


@dataclass(frozen=True)
class AnswerPage:
    """A prediction on the page.

    Attributes:
        chart: each slide's probability and the scatter of the members; None if no slide has a prediction.
        table: a line for each slide that has a prediction; None likewise.
        told: which slides the table holds.
        without: the slides without a prediction, and why; None if there are none.
        told_without: how many there are.
    """

    chart: Chart | None
    table: Table | None
    told: str
    without: Table | None
    told_without: str


def answer_page(run: str, answers: Answers) -> AnswerPage:
    """Return the parts of a result's prediction."""
    predicted, without = list(answers.predicted.values()), answers.without
    shown = by_doubt(predicted)[:ROWS]
    told = f"{_all_or_few(len(shown), len(predicted), 'predicted slide')}, the most undecided first."
    failed = Table(
        ("slide", "patient", "why"), [[each.slide, each.patient or "-", each.note] for each in without[:ROWS]]
    )
    return AnswerPage(
        chart=_chart(run, answers) if predicted else None,
        table=_table(answers.classes, shown) if shown else None,
        told=told,
        without=failed if without else None,
        told_without=_told_without(len(failed.rows), len(without)),
    )


def by_doubt(rows: Sequence[Answer]) -> list[Answer]:
    """Return slides, the most undecided first."""
    return sorted(rows, key=lambda each: (-each.undecided, each.slide))


def tiles(answers: Answers) -> list[tuple[str, str, str]]:
    """Return the figures at the head of the page: name, value, and what stands behind it."""
    found = answers.predicted.values()
    counts = Counter(_predicted(answers.classes, each) for each in found)
    return [
        ("Slides predicted", f"{len(found):,}", f"of {len(answers.rows):,}"),
        *((f"Predicted {name}", f"{counts[name]:,}", "") for name in answers.classes),
    ]


def measured(answers: Answers, members: int) -> str:
    """Return a sentence on what the figures are."""
    return (
        f"Predictions of {len(answers.rows):,} slides by {members:,} member{'s' * (members != 1)} of a head. Labels were not used, so that nothing "
        "here says how often they are right; `wsc-ray evaluate` measures that."
    )


def spread_text(answer: Answer) -> str:
    """Return how sure a slide's prediction is, as text."""
    parts = []
    if answer.member_sd is not None:
        parts.append(f"± {number(answer.member_sd, 2)} between members")
    if answer.entropy is not None:
        parts.append(f"entropy {number(answer.entropy, 2)}")
    if answer.calibrated is not None:
        name, value = answer.calibrated
        parts.append(f"calibrated {name} {number(value, 2)}")
    return ", ".join(parts)


def _predicted(classes: Sequence[str], answer: Answer) -> str:
    assert answer.probabilities is not None
    return classes[int(answer.probabilities.argmax())]


def _all_or_few(shown: int, count: int, word: str) -> str:
    words = f"{word}{'s' * (count != 1)}"
    return f"All {count:,} {words}" if shown == count > 1 else f"{shown:,} of {count:,} {words}"


def _told_without(shown: int, count: int) -> str:
    few = "" if shown == count else f" {shown:,} of them are listed."
    return f"{count:,} slide{'s have' if count != 1 else ' has'} no prediction.{few}"


def _table(classes: Sequence[str], rows: Sequence[Answer]) -> Table:
    """Return the table of slides; columns that no slide has are left out."""
    optional = {
        "between members (sd)": [number(each.member_sd) for each in rows],
        "entropy": [number(each.entropy) for each in rows],
        "calibrated": [
            "-" if each.calibrated is None else f"{each.calibrated[0]} {number(each.calibrated[1])}" for each in rows
        ],
        "note": [each.note or "-" for each in rows],
    }
    beside = {name: cells for name, cells in optional.items() if set(cells) != {"-"}}
    lines = []
    for place, each in enumerate(rows):
        assert each.probabilities is not None
        values = [number(float(value)) for value in each.probabilities]
        first = [each.slide, each.patient or "-", f"{each.patches:,}", _predicted(classes, each)]
        lines.append([*first, *values, *(cells[place] for cells in beside.values())])
    head = ("slide", "patient", "patches", "predicted", *(f"probability of {name}" for name in classes), *beside)
    return Table(head, lines)


def _chart(run: str, answers: Answers) -> Chart:
    """Return each slide's probability, sorted, with the scatter of the members."""
    of_two = len(answers.classes) == 2
    what = f"probability of {answers.classes[1]}" if of_two else "probability of the predicted class"
    found = []
    for each in answers.predicted.values():
        assert each.probabilities is not None
        found.append((float(each.probabilities[1] if of_two else each.probabilities.max()), each))
    found.sort(key=lambda pair: (pair[0], pair[1].slide))
    rows = []
    for rank, (value, each) in thinned(list(enumerate(found, start=1)), POINTS):
        sd = each.member_sd or 0.0
        low, high = max(0.0, value - sd), min(1.0, value + sd)
        numbers = {
            name: round(each_one, 4) for name, each_one in (("probability", value), ("low", low), ("high", high))
        }
        rows.append({"rank": rank, "slide": each.slide, **numbers})
    values = np.array([value for value, _ in found])
    ticks: dict[str, Any] = {"values": list(range(1, len(found) + 1))} if len(found) <= _FEW else {"tickCount": 5}
    x = {
        "field": "rank",
        "type": "quantitative",
        "axis": {"title": "slides, by their probability", "format": ",d", **ticks},
        "scale": {"domain": [0.5, len(found) + 0.5], "nice": False},
    }
    y = quantitative("probability", what, (0, 1))
    spec = {
        "data": {"name": "scores"},
        "layer": [
            {
                "mark": {"type": "rule", "color": COLOURS[0], "opacity": 0.4},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 40,
                    "opacity": 1,
                    "color": COLOURS[0],
                    "tooltip": {"content": "data"},
                },
                "encoding": {"x": x, "y": y},
            },
        ],
    }
    several = any(each.member_sd is not None for _, each in found)
    scatter = "A line is one standard deviation between the head's members in each direction." if several else ""
    few = "" if len(rows) == len(found) else f" {len(rows):,} of {len(found):,} slides are drawn, evenly spread."
    return Chart(
        f"{run}: scores",
        f"Scores of {len(found):,} slides by {run}: {what} from {number(float(values.min()))} to {number(float(values.max()))}, "
        f"{int((values >= 0.5).sum()):,} at 0.5 or above. The table of slides has the figures.",
        sized(spec, 260),
        {"scores": rows},
        note=f"{scatter}{few}".strip(),
        wide=True,
    )

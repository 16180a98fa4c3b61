"""What an evaluation leaves for people: two tables and a few lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.files import atomic
from wsc_ray.mil.bags import Bags
from wsc_ray.storage import AnyPath, as_path

PREDICTIONS, CONFUSION = "predictions.csv", "confusion.csv"


@dataclass(frozen=True)
class Result:
    """What a head says of b slides: `probabilities` (b, C) float64 and `attention` (n,) float32."""

    bags: Bags
    classes: list[str]
    probabilities: np.ndarray
    attention: np.ndarray


def write_predictions(path: AnyPath, result: Result) -> None:
    """`predictions.csv`: a row a slide."""
    _write_csv(path, _predictions(result))


def write_confusion(path: AnyPath, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """`confusion.csv`: a row a true class, a column a predicted one."""
    _write_csv(path, [["label", *classes], *([name, *row] for name, row in zip(classes, matrix, strict=True))])


def _predictions(result: Result) -> Iterable[list[Any]]:
    bags, classes = result.bags, result.classes
    yield ["slide_id", "patient_id", "label", "predicted", *(f"prob_{name}" for name in classes)]
    for slide, patient, label, row in zip(
        bags.slide_ids, bags.patient_ids, bags.labels, result.probabilities, strict=True
    ):
        yield [slide, patient, classes[label], classes[row.argmax()], *(f"{p:.6f}" for p in row)]


def _write_csv(path: AnyPath, rows: Iterable[Sequence[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def describe(summary: dict[str, Any]) -> str:
    """A summary, or the plan of a dry run, for people."""
    positive = f" (positive: {summary['positive']})" if summary["positive"] else ""
    lines = [
        f"features  {summary['features']}",
        f"head      {summary['head']}",
        f"measured  {summary['slides']} slides of {summary['patients']} patients, split {summary['split']}{positive}",
    ]
    if "metrics" not in summary:
        return "\n".join([*lines, f"out       {summary['out']}"])
    draws = summary["bootstrap"]
    rows = {name.replace("_", " ").replace("auroc", "AUROC"): entry for name, entry in summary["metrics"].items()}
    if summary["attention"]:
        rows["attention AUROC"] = summary["attention"]["auroc"]
    width = max(len(name) for name in rows)
    lines += ["", f"{'':{width}}  value  {draws['confidence']:.0%} interval ({draws['samples']:,} draws of patients)"]
    lines += [
        f"{name:{width}}  {_shown(entry['value'])}  {_shown(entry['low'])} - {_shown(entry['high'])}"
        for name, entry in rows.items()
    ]
    names, matrix = summary["classes"], summary["confusion"]
    cell = max(len(str(text)) for text in [*names, *(n for row in matrix for n in row)])
    corner = "true, predicted"
    first = max(len(corner), *(len(name) for name in names))
    lines += ["", f"{corner:{first}}  " + "  ".join(f"{name:>{cell}}" for name in names)]
    lines += [
        f"{name:{first}}  " + "  ".join(f"{n:>{cell}}" for n in row) for name, row in zip(names, matrix, strict=True)
    ]
    if summary["notes"]:
        lines += ["", *summary["notes"]]
    return "\n".join([*lines, "", f"predictions  {as_path(summary['out']) / PREDICTIONS}"])


def _shown(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.3f}"

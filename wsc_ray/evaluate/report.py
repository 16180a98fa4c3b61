"""What an evaluation leaves in tables: what was predicted of each slide, by the ensemble and by each member."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

from wsc_ray.evaluate.assess import Result
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath

PREDICTIONS, CONFUSION, MEMBERS = "predictions.csv", "confusion.csv", "member_predictions.csv"


def write_predictions(path: AnyPath, result: Result) -> None:
    """`predictions.csv`: a row a slide. Probabilities have all their digits, so that ranks and differences survive."""
    _write_csv(path, _predictions(result))


def write_members(path: AnyPath, result: Result) -> None:
    """`member_predictions.csv`: a row for each member and slide that it never saw."""
    _write_csv(path, _member_predictions(result))


def write_confusion(path: AnyPath, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """`confusion.csv`: a row a true class, a column a predicted one."""
    _write_csv(path, [["label", *classes], *([name, *row] for name, row in zip(classes, matrix, strict=True))])


def _predictions(result: Result) -> Iterable[list[Any]]:
    bags, classes = result.bags, result.classes
    yield ["slide_id", "patient_id", "label", "predicted", *_columns(classes)]
    for slide, patient, label, row in zip(
        bags.slide_ids, bags.patient_ids, bags.labels, result.probabilities, strict=True
    ):
        yield [slide, patient, classes[label], classes[row.argmax()], *map(float, row)]


def _member_predictions(result: Result) -> Iterable[list[Any]]:
    members = result.members
    yield ["slide_id", "member", "seed", "fold", *_columns(result.classes)]
    for name, seed, fold, unseen, rows in zip(
        members.names, members.seeds, members.folds, members.unseen, members.probabilities, strict=True
    ):
        for slide, known, row in zip(result.bags.slide_ids, unseen, rows, strict=True):
            if known:
                yield [slide, name, seed, fold or "", *map(float, row)]


def _columns(classes: Sequence[str]) -> list[str]:
    return [f"prob_{name}" for name in classes]


def _write_csv(path: AnyPath, rows: Iterable[Sequence[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)

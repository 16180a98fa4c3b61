"""The tables of an evaluation: the predictions for each slide, by the ensemble and by each member, and the confusion matrix."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from wsc_ray.evaluate.assess import Result
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath

PREDICTIONS, CONFUSION, MEMBERS = "predictions.csv", "confusion.csv", "member_predictions.csv"


def write_predictions(path: AnyPath, result: Result) -> None:
    """Write `predictions.csv`, one row per slide."""
    bags = result.bags
    write_slides(path, bags.slide_ids, bags.patient_ids, result.labels, result.classes, result.probabilities)


def write_slides(
    path: AnyPath,
    slides: Sequence[str],
    patients: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    probabilities: np.ndarray,
) -> None:
    """Write a table with one row per slide, as `evaluate --compare` reads it.

    Probabilities are written with all digits, so that ranks and differences are kept.

    Args:
        slides, patients, labels: (n,).
        probabilities: (n, C).
    """
    rows: list[list[Any]] = [["slide_id", "patient_id", "label", "predicted", *_columns(classes)]]
    for slide, patient, label, row in zip(slides, patients, labels, probabilities, strict=True):
        rows.append([slide, patient, classes[label], classes[row.argmax()], *map(float, row)])
    _write_csv(path, rows)


def write_members(path: AnyPath, result: Result) -> None:
    """Write `member_predictions.csv`, one row for each member and each slide that it never saw."""
    _write_csv(path, _member_predictions(result))


def write_confusion(path: AnyPath, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """Write `confusion.csv`, with a row for each true class and a column for each predicted one."""
    _write_csv(path, [["label", *classes], *([name, *row] for name, row in zip(classes, matrix, strict=True))])


def _member_predictions(result: Result) -> Iterable[list[Any]]:
    members = result.members
    yield ["slide_id", "member", "seed", "fold", *_columns(result.classes)]
    for name, seed, fold, unseen, rows in zip(
        members.names, members.seeds, members.folds, members.unseen, members.probabilities, strict=True
    ):
        for slide, predicted, row in zip(result.bags.slide_ids, unseen, rows, strict=True):
            if predicted:
                yield [slide, name, seed, fold or "", *map(float, row)]


def _columns(classes: Sequence[str]) -> list[str]:
    return [f"prob_{name}" for name in classes]


def _write_csv(path: AnyPath, rows: Iterable[Sequence[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)

"""Predictions of slides, wherever they come from: a run, a folder of `evaluate`, or a table of somebody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from wsc_ray.cohort.problems import listed
from wsc_ray.cohort.tables import UserTable, choose_column, read_user_table
from wsc_ray.cohort.values import as_number
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.evaluate.report import MEMBERS, PREDICTIONS
from wsc_ray.storage import AnyPath, as_path

PROBABILITY = "prob_"
_SUM = 1e-3  # how far a row may be from 1: other tools round
_SAME = 1e-6  # how far the members' mean may be from the ensemble's prediction


@dataclass(frozen=True, eq=False)
class Predictions:
    """One result to compare.

    Attributes:
        name: as it was given.
        slides: (n,).
        labels, patients: of slides, those that are known.
        classes: as its columns are ordered; of two a table may leave one out.
        members: probabilities (M, n, C), slides and classes in this order.
        ours: whether `evaluate` wrote it.
    """

    name: str
    slides: tuple[str, ...]
    labels: Mapping[str, str]
    patients: Mapping[str, str]
    classes: tuple[str, ...]
    members: MemberPredictions
    ours: bool

    def completed(self, classes: Sequence[str]) -> Predictions:
        """The same with a column for the class of two that it leaves out."""
        if len(self.classes) != 1 or len(classes) != 2 or self.classes[0] not in classes:
            return self
        other = next(each for each in classes if each != self.classes[0])
        given = self.members.probabilities
        members = replace(self.members, probabilities=np.concatenate([given, 1 - given], axis=2))
        return replace(self, classes=(*self.classes, other), members=members)

    def arranged(self, slides: Sequence[str], classes: Sequence[str]) -> Predictions:
        """The same with slides and classes in another order."""
        row = {slide: number for number, slide in enumerate(self.slides)}
        rows, columns = [row[slide] for slide in slides], [self.classes.index(name) for name in classes]
        members = replace(self.members, probabilities=self.members.probabilities[:, rows][:, :, columns])
        return replace(self, slides=tuple(slides), classes=tuple(classes), members=members)


def find_predictions(given: str | Path) -> tuple[AnyPath, AnyPath | None]:
    """The table of predictions that a result names, and the folder of the run where it is one.

    Raises:
        RunFolderError: nothing is there, or a folder without predictions.
    """
    path = as_path(given)
    for folder, run in ((path / "evaluate", path), (path, None)):
        if (folder / PREDICTIONS).is_file():
            return folder / PREDICTIONS, run
    if path.is_dir():
        raise RunFolderError(f"{path} holds no {PREDICTIONS}; `wsc-ray evaluate --run` writes it into a run folder")
    if not path.is_file():
        raise RunFolderError(
            f"{path} does not exist; give a run folder, a folder of `evaluate`, or a table of predictions"
        )
    return path, None


def read_predictions(given: str | Path) -> Predictions:
    """Read a result.

    Raises:
        RunFolderError: see `find_predictions`.
        ManifestError: the table cannot be read.
        DataError: it has no slides or probabilities, a slide twice, or values that are no probabilities.
    """
    path, _ = find_predictions(given)
    table = read_user_table(str(path))
    name = str(given)
    slides = _slides(table, name)
    if len(set(slides)) < len(slides):
        twice = sorted({slide for slide in slides if slides.count(slide) > 1})
        raise DataError(f"{name} has several rows of slide {listed(twice)}; give one row a slide")
    found, probabilities = _probabilities(table, name)
    ensemble = MemberPredictions(("ensemble",), (0,), (None,), probabilities[None])
    beside = path.parent / MEMBERS
    ours = path.name == PREDICTIONS and beside.is_file()
    members = _read_members(beside, slides, found, ensemble) if ours else ensemble
    label, patient = (_known(table, column, slides) for column in ("label", "patient_id"))
    return Predictions(name, tuple(slides), label, patient, found, members, ours)


def _slides(table: UserTable, name: str) -> list[str]:
    column, hint = choose_column(table.names, "slide_id", ("sample_id",))
    if column is None:
        raise DataError(f"{name} has no column `slide_id`{hint}")
    slides = table.texts(column)
    for row, slide in enumerate(slides):
        if slide is None:
            raise DataError(f"{name}, {table.where(row)}, names no slide")
    if not slides:
        raise DataError(f"{name} has no rows")
    return [slide for slide in slides if slide is not None]


def _known(table: UserTable, column: str, slides: Sequence[str]) -> dict[str, str]:
    """A column's values by slide, those that are there."""
    if column not in table.names:
        return {}
    values = table.texts(column, label=column == "label")
    return {slide: value for slide, value in zip(slides, values, strict=True) if value is not None}


def _probabilities(table: UserTable, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in the order of their columns, and (n, C) probabilities."""
    found = [column.removeprefix(PROBABILITY) for column in table.names if column.startswith(PROBABILITY)]
    if not found:
        raise DataError(f"{name} has no column `{PROBABILITY}<label>`; give one for each label")
    values = np.stack([_numbers(table, name, PROBABILITY + each) for each in found], axis=1)
    if len(found) == 1:
        return tuple(found), values
    off = np.flatnonzero(np.abs(values.sum(axis=1) - 1) > _SUM)
    if len(off):
        raise DataError(
            f"{name}, {table.where(off[0])}: probabilities add up to {values[off[0]].sum():g}, and not to 1; give them of all labels"
        )
    return tuple(found), values


def _numbers(table: UserTable, name: str, column: str) -> np.ndarray:
    """A column of probabilities, (n,) float64."""
    try:
        values = as_number(table.columns[column], pa.float64()).to_numpy().astype(np.float64)
    except pa.ArrowException:
        raise DataError(f"{name}: column `{column}` holds values that are no numbers") from None
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise DataError(
            f"{name}, {table.where(wrong[0])}: `{column}` is {values[wrong[0]]:g}, which is no probability; give 0 to 1"
        )
    return values


def _read_members(
    path: AnyPath, slides: Sequence[str], classes: Sequence[str], ensemble: MemberPredictions
) -> MemberPredictions:
    """What each member says, from `member_predictions.csv` beside the predictions."""
    table = read_user_table(str(path))
    lacking = [
        each for each in ("member", "seed", "fold", *(PROBABILITY + c for c in classes)) if each not in table.names
    ]
    if lacking:
        raise DataError(f"{path} has no column `{lacking[0]}`; evaluate again")
    values = np.stack([_numbers(table, str(path), PROBABILITY + each) for each in classes], axis=1)
    row = {slide: number for number, slide in enumerate(slides)}
    names, seeds, folds = (table.texts(column) for column in ("member", "seed", "fold"))
    about = {str(n): (int(s or 0), f) for n, s, f in zip(names, seeds, folds, strict=True)}
    place = {name: number for number, name in enumerate(about)}
    probabilities = np.full((len(about), len(slides), len(classes)), np.nan)
    for name, slide, each in zip(names, _slides(table, str(path)), values, strict=True):
        if slide in row:
            probabilities[place[str(name)], row[slide]] = each
    members = MemberPredictions(
        tuple(about),
        tuple(seed for seed, _ in about.values()),
        tuple(fold for _, fold in about.values()),
        probabilities,
    )
    unseen = members.unseen.any(axis=0)
    if not unseen.all() or np.abs(members.ensemble() - ensemble.probabilities[0]).max() > _SAME:
        raise DataError(f"{path} is not of the same evaluation as {PREDICTIONS} beside it; evaluate again")
    return members

"""Reading predictions of slides from a run, from a folder of `evaluate`, or from a table of another tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from wsc_ray.cohort.problems import listed
from wsc_ray.cohort.tables import UserTable, choose_column, read_user_table
from wsc_ray.cohort.values import as_number, tidy
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.evaluate.report import MEMBERS, PREDICTIONS
from wsc_ray.files import is_changed
from wsc_ray.storage import AnyPath, as_path

PROBABILITY = "prob_"
_SUM = 1e-3  # how far the sum of a row may be from 1, since other tools round
_SAME = 1e-6  # how far the members' mean may be from the ensemble's prediction


@dataclass(frozen=True, eq=False)
class Predictions:
    """One result to compare.

    Attributes:
        name: the result as the user gave it.
        slides: (n,), slide ids.
        labels, patients: the known labels and patients, by slide id.
        classes: the classes in the order of the columns; of two classes a table may leave one out.
        members: probabilities (M, n, C), with slides and classes in this order.
        ours: whether `evaluate` wrote the result.
    """

    name: str
    slides: tuple[str, ...]
    labels: Mapping[str, str]
    patients: Mapping[str, str]
    classes: tuple[str, ...]
    members: MemberPredictions
    ours: bool

    def completed(self, classes: Sequence[str]) -> Predictions:
        """Return the same predictions with a column for the second of two classes, if the table leaves it out."""
        if len(self.classes) != 1 or len(classes) != 2 or self.classes[0] not in classes:
            return self
        other = next(name for name in classes if name != self.classes[0])
        first = self.members.probabilities
        members = replace(self.members, probabilities=np.concatenate([first, 1 - first], axis=2))
        return replace(self, classes=(*self.classes, other), members=members)

    def arranged(self, slides: Sequence[str], classes: Sequence[str]) -> Predictions:
        """Return the same predictions with slides and classes in the given order."""
        row = {slide: number for number, slide in enumerate(self.slides)}
        rows, columns = [row[slide] for slide in slides], [self.classes.index(name) for name in classes]
        members = replace(self.members, probabilities=self.members.probabilities[:, rows][:, :, columns])
        return replace(self, slides=tuple(slides), classes=tuple(classes), members=members)


def find_predictions(result: str | Path) -> tuple[AnyPath, AnyPath | None]:
    """Return the path of a result's table of predictions, and the run folder if the result is one.

    Raises:
        RunFolderError: the path does not exist, or is a folder without predictions.
    """
    path = as_path(result)
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


def read_predictions(result: str | Path) -> Predictions:
    """Read the predictions of a result.

    Raises:
        RunFolderError: see `find_predictions`.
        ManifestError: the table cannot be read.
        DataError: the table has no slides or no probabilities, has a slide twice, or has values that are no probabilities; or
            it is not as `evaluate` wrote it.
    """
    path, _ = find_predictions(result)
    for each in (path, path.parent / MEMBERS) if path.name == PREDICTIONS else ():
        if each.is_file() and is_changed(each):
            raise DataError(f"{each} is damaged, or was changed after it was written; evaluate again")
    table = read_user_table(str(path))
    name = str(result)
    slides = _slides(table, name)
    if len(set(slides)) < len(slides):
        twice = sorted({slide for slide in slides if slides.count(slide) > 1})
        raise DataError(f"{name} has several rows of slide {listed(twice)}; give one row a slide")
    classes, probabilities = _probabilities(table, name)
    ensemble = MemberPredictions(("ensemble",), (0,), (None,), probabilities[None])
    beside = path.parent / MEMBERS
    ours = path.name == PREDICTIONS and beside.is_file()
    members = _read_members(beside, slides, classes, ensemble) if ours else ensemble
    label, patient = (_known(table, column, slides) for column in ("label", "patient_id"))
    return Predictions(name, tuple(slides), label, patient, classes, members, ours)


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
    """Return the values of a column by slide, without missing ones."""
    if column not in table.names:
        return {}
    values = table.texts(column, label=column == "label")
    return {slide: value for slide, value in zip(slides, values, strict=True) if value is not None}


def _probabilities(table: UserTable, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes in the order of their columns, and the probabilities (n, C).

    Names of classes follow the rules for labels: `prob_True` and `prob_1.0` are of the labels `true` and `1`.
    """
    columns = [column for column in table.names if column.startswith(PROBABILITY)]
    if not columns:
        raise DataError(f"{name} has no column `{PROBABILITY}<label>`; give one for each label")
    labels = tidy([column.removeprefix(PROBABILITY) for column in columns], label=True)
    classes = [label for label in labels if label is not None]
    if len(set(classes)) < len(columns):
        raise DataError(f"{name} has columns {', '.join(columns)}; give one for each label, with the label in its name")
    values = np.stack([_numbers(table, name, column) for column in columns], axis=1)
    if len(classes) == 1:
        return tuple(classes), values
    off = np.flatnonzero(np.abs(values.sum(axis=1) - 1) > _SUM)
    if len(off):
        raise DataError(
            f"{name}, {table.where(off[0])}: probabilities add up to {values[off[0]].sum():g} instead of 1; give those of all labels"
        )
    return tuple(classes), values


def _numbers(table: UserTable, name: str, column: str) -> np.ndarray:
    """Return a column of probabilities, (n,) float64."""
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
    """Return each member's predictions, from `member_predictions.csv` beside the ensemble's predictions."""
    table = read_user_table(str(path))
    lacking = [
        name for name in ("member", "seed", "fold", *(PROBABILITY + c for c in classes)) if name not in table.names
    ]
    if lacking:
        raise DataError(f"{path} has no column `{lacking[0]}`; evaluate again")
    values = np.stack([_numbers(table, str(path), PROBABILITY + each) for each in classes], axis=1)
    row = {slide: number for number, slide in enumerate(slides)}
    names, folds = (table.texts(column) for column in ("member", "fold"))
    try:
        seeds = as_number(table.columns["seed"], pa.int64()).to_pylist()
    except pa.ArrowException:
        raise DataError(f"{path}: column `seed` holds values that are no whole numbers; evaluate again") from None
    about = {str(n): (s or 0, f) for n, s, f in zip(names, seeds, folds, strict=True)}
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

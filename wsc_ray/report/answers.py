"""What `predict` says of slides, as its `predictions.csv` has it; nothing in it needs labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from wsc_ray.cohort.tables import UserTable, read_user_table
from wsc_ray.cohort.values import as_number
from wsc_ray.errors import DataError
from wsc_ray.evaluate.report import PREDICTIONS
from wsc_ray.storage import AnyPath

_SUM = 1e-3  # allowed difference of a slide's probabilities from 1


@dataclass(frozen=True, eq=False)
class Answer:
    """A line of the table.

    Attributes:
        patient: None if unknown.
        probabilities: (C,) float64, the mean over the members; None if the slide could not be predicted.
        member_sd: standard deviation of the members' probabilities of the predicted class; None for one member.
        entropy: of the probabilities, in nats.
        calibrated: the class by the threshold that `evaluate` chose, and its calibrated probability; None without calibration.
        note: why there is no prediction, or other remarks; "" for none.
    """

    slide: str
    patient: str | None
    patches: int
    probabilities: np.ndarray | None
    member_sd: float | None = None
    entropy: float | None = None
    calibrated: tuple[str, float] | None = None
    note: str = ""

    @property
    def undecided(self) -> float:
        """1 minus the probability of the predicted class."""
        return 1.0 if self.probabilities is None else 1 - float(self.probabilities.max())


@dataclass(frozen=True, eq=False)
class Answers:
    """The slides of a prediction in the table's order, and the classes in the head's."""

    classes: Sequence[str]
    rows: Sequence[Answer]

    @cached_property
    def predicted(self) -> dict[str, Answer]:
        """The slides that have a prediction, by id."""
        return {each.slide: each for each in self.rows if each.probabilities is not None}

    @property
    def without(self) -> list[Answer]:
        """The slides that have none."""
        return [each for each in self.rows if each.probabilities is None]


def read_answers(folder: AnyPath, classes: Sequence[str]) -> Answers:
    """Read the table in a folder of `predict`.

    Args:
        classes: the classes, in the head's order.

    Raises:
        ManifestError: the table cannot be read.
        DataError: a column is missing, a slide occurs twice, or values are no probabilities.
    """
    table = read_user_table(str(folder / PREDICTIONS))
    columns = [f"prob_{name}" for name in classes]
    missing = [name for name in ("slide_id", "patches", "predicted", *columns) if name not in table.names]
    if missing:
        raise DataError(f"{table.source} has no column `{missing[0]}`; predict again")
    slides = [str(each) for each in table.texts("slide_id")]
    if len(set(slides)) < len(slides):
        raise DataError(f"{table.source} has a slide twice; predict again")
    every = np.column_stack([_numbers(table, name) for name in columns]).reshape(len(slides), len(classes))
    known = np.isfinite(every).all(axis=1)
    if (every[known] < 0).any() or (np.abs(every[known].sum(axis=1) - 1) > _SUM).any():
        raise DataError(f"{table.source} holds values that are no probabilities; predict again")
    patients, notes, calibrated = (_texts(table, name) for name in ("patient_id", "note", "predicted_calibrated"))
    spread, entropy, patches = (_numbers(table, name) for name in ("member_sd", "entropy", "patches"))
    by_class = {name: _numbers(table, f"calibrated_{name}") for name in classes}
    rows = []
    for row, slide in enumerate(slides):
        chosen = calibrated[row]
        rows.append(
            Answer(
                slide,
                patients[row],
                int(np.nan_to_num(patches[row])),
                every[row] if known[row] else None,
                _finite(spread[row]),
                _finite(entropy[row]),
                (chosen, float(by_class[chosen][row])) if chosen in by_class else None,
                notes[row] or "",
            )
        )
    return Answers(tuple(classes), rows)


def _texts(table: UserTable, name: str) -> list[str | None]:
    return table.texts(name) if name in table.names else [None] * table.rows


def _numbers(table: UserTable, name: str) -> np.ndarray:
    """Return a column (n,) float64, NaN where it is empty or missing."""
    if name not in table.names:
        return np.full(table.rows, np.nan)
    try:
        values = as_number(table.columns[name], pa.float64()).to_pylist()
    except pa.ArrowException:
        raise DataError(f"{table.source}: column `{name}` holds values that are no numbers; predict again") from None
    return np.array([np.nan if each is None else each for each in values], np.float64)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

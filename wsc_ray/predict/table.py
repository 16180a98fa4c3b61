"""`predictions.csv`: a row a slide, as `evaluate --compare` reads it where every slide has probabilities.

| column | what |
| --- | --- |
| `slide_id`, `patient_id` | the latter empty where it is not known |
| `patches` | whose features the heads saw |
| `predicted`, `prob_<class>` | the mean of the members' probabilities, with all digits, and the most probable class |
| `member_sd` | standard deviation of the members' probabilities of the predicted class (n - 1 below the root); empty of one member |
| `entropy` | of the mean probabilities, nats: 0 where all is sure, ln C where nothing is |
| `calibrated_<class>`, `predicted_calibrated` | with the temperature and the threshold that `evaluate` chose on validation slides; only where it has for some slide |
| `note` | why a slide has no probabilities, or what else should be known of it |
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.evaluate.calibration import Choice, tempered
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What M members say of a slide: probabilities (M, C) float64, None where they say nothing.

    Attributes:
        fold: whose members have spoken; None: all.
    """

    slide_id: str
    patient_id: str | None
    patches: int
    members: np.ndarray | None
    note: str = ""
    fold: str | None = None

    @property
    def probabilities(self) -> np.ndarray | None:
        """The mean over the members, (C,) float64."""
        return None if self.members is None else self.members.mean(axis=0)


def write_table(
    path: AnyPath, found: Sequence[Prediction], classes: Sequence[str], calibration: Mapping[str | None, Choice]
) -> None:
    """Write the table in one step.

    Args:
        calibration: what was chosen on validation slides, by fold; columns of calibrated values are left out where no slide has any.
    """
    rows = [row_of(each, classes, calibration) for each in found]
    names = ["slide_id", "patient_id", "patches", "predicted", *(f"prob_{name}" for name in classes)]
    names += ["member_sd", "entropy"]
    if any(is_calibrated(each, calibration) for each in found):
        names += [*(f"calibrated_{name}" for name in classes), "predicted_calibrated"]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*names, "note"], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def is_calibrated(found: Prediction, calibration: Mapping[str | None, Choice]) -> bool:
    """Whether a slide has calibrated values; a temperature of one fold's members does not hold for those of all folds."""
    return found.members is not None and found.fold in calibration


def row_of(found: Prediction, classes: Sequence[str], calibration: Mapping[str | None, Choice]) -> dict[str, Any]:
    """A slide's row; columns that it lacks are not known."""
    row: dict[str, Any] = {
        "slide_id": found.slide_id,
        "patient_id": found.patient_id or "",
        "patches": found.patches,
        "note": found.note,
    }
    if found.members is None:
        return row
    mean = found.members.mean(axis=0)
    top = int(mean.argmax())
    row["predicted"] = classes[top]
    row |= {f"prob_{name}": float(value) for name, value in zip(classes, mean, strict=True)}
    if len(found.members) > 1:
        row["member_sd"] = float(found.members[:, top].std(ddof=1))
    row["entropy"] = entropy(mean)
    if is_calibrated(found, calibration):
        choice = calibration[found.fold]
        values = tempered(mean[None], np.array([choice.temperature]))[0]
        row |= {f"calibrated_{name}": float(value) for name, value in zip(classes, values, strict=True)}
        chosen = top if choice.threshold is None else int(mean[1] >= choice.threshold)
        row["predicted_calibrated"] = classes[chosen]
    return row


def entropy(probabilities: np.ndarray) -> float:
    """Entropy of probabilities (C,), nats."""
    some = probabilities[probabilities > 0]
    return float(max(0.0, -(some * np.log(some)).sum()))

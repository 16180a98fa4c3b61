"""`predictions.csv`: one row per slide. `evaluate --compare` reads it if every slide has probabilities.

| column | content |
| --- | --- |
| `slide_id`, `patient_id` | the patient is empty if unknown |
| `patches` | number of patches whose features the members saw |
| `predicted`, `prob_<class>` | the most probable class, and the mean of the members' probabilities with all digits |
| `member_sd` | standard deviation of the members' probabilities of the predicted class (with n - 1); empty if one member predicts |
| `entropy` | entropy of the mean probabilities, in nats: 0 if one of C classes is certain, ln C if all are equally probable |
| `calibrated_<class>` | mean probabilities with the temperature that `evaluate` chose on validation slides; only if it chose one |
| `predicted_calibrated` | of two classes, the one by `evaluate`'s threshold on `prob_<class>`; of more, the most probable; likewise |
| `note` | why a slide has no probabilities, or other remarks |
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
    """The prediction for a slide.

    Attributes:
        members: the probabilities by M members, (M, C) float64; None if the slide could not be predicted.
        note: see the table above.
        fold: the fold that these members were fitted without; None if all members predict.
    """

    slide_id: str
    patient_id: str | None
    patches: int
    members: np.ndarray | None
    note: str = ""
    fold: str | None = None

    @property
    def probabilities(self) -> np.ndarray | None:
        """Mean over the members, (C,) float64."""
        return None if self.members is None else self.members.mean(axis=0)


def write_table(
    path: AnyPath, found: Sequence[Prediction], classes: Sequence[str], calibration: Mapping[str | None, Choice]
) -> None:
    """Write the table in one step.

    Args:
        calibration: what `evaluate` chose on validation slides, by fold; the table has no calibrated columns if no slide has values.
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
    """Return whether a slide has calibrated values; a temperature of one fold's members does not hold for those of all folds."""
    return found.members is not None and found.fold in calibration


def row_of(found: Prediction, classes: Sequence[str], calibration: Mapping[str | None, Choice]) -> dict[str, Any]:
    """Return a slide's row; unknown columns are missing."""
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
    """Return the entropy of probabilities (C,), in nats."""
    some = probabilities[probabilities > 0]
    return float(max(0.0, -(some * np.log(some)).sum()))

"""The ROC and the precision-recall curve of predictions at fixed abscissae, with bootstrap bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from wsc_ray.evaluate.bootstrap import Resample, bootstrap
from wsc_ray.evaluate.predictions import Predictions

GRID = np.linspace(0, 1, 101)
DRAWS = 200  # bootstrap samples of a band


@dataclass(frozen=True, eq=False)
class Band:
    """A curve at `GRID`, and the ends of its bootstrap intervals there, (101,) each; NaN where undefined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bands(predictions: Predictions, *, confidence: float, seed: int = 0, draws: int = DRAWS) -> tuple[Band, Band]:
    """Return the ROC curve (sensitivity at a false positive rate) and the precision-recall curve (precision at a recall).

    With two classes the curves are those of the second class. With more they are the mean over the curves of each class against the
    rest; the area under this mean is the macro average that `evaluate` measures. The bands come from a bootstrap over patients and
    members together, as in `evaluate`.
    """
    labels = np.array([predictions.classes.index(predictions.labels[slide]) for slide in predictions.slides])
    patients = [predictions.patients.get(slide, f"slide {slide}") for slide in predictions.slides]
    chosen = [1] if len(predictions.classes) == 2 else [*range(len(predictions.classes))]

    def statistic(draw: Resample) -> dict[str, np.ndarray]:
        given = draw.probabilities(predictions.members)
        rows = []
        for number_, weights in enumerate(draw.weights):
            one = given if given.ndim == 2 else given[number_]
            rows.append(np.mean([_curves(labels == c, one[:, c], weights) for c in chosen], axis=0))
        return {str(place): values for place, values in enumerate(np.stack(rows, axis=1))}  # 202 values of s samples

    whole = Resample(np.ones((1, len(labels))), (np.ones((1, len(predictions.members))),))
    values = np.array([each[0] for each in statistic(whole).values()])
    found = bootstrap(statistic, patients, [predictions.members], samples=draws, confidence=confidence, seed=seed)
    low, high = (np.clip([getattr(found[str(n)], end) for n in range(len(values))], 0, 1) for end in ("low", "high"))
    half = len(GRID)
    return Band(values[:half], low[:half], high[:half]), Band(values[half:], low[half:], high[half:])


def _curves(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return sensitivity and then precision at `GRID`, (202,); NaN if a resample holds only one class."""
    if not weights[truth].sum() or not weights[~truth].sum():
        return np.full(2 * len(GRID), np.nan)
    wrong, right, _ = roc_curve(truth, score, sample_weight=weights, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(truth, score, sample_weight=weights)
    # scikit-learn appends the point with recall 0 and precision 1, which no threshold gives.
    precision, recall = precision[-2::-1], recall[-2::-1]
    at = np.minimum(np.searchsorted(recall, GRID - 1e-12), len(recall) - 1)
    return np.concatenate([np.interp(GRID, wrong, right), precision[at]])

"""Metrics of slide predictions, for many weightings of the slides at once.

Every function takes `weights` (s, n), s weightings of n slides, and returns one value per weighting: a bootstrap sample is a
weighting by how often each slide was drawn. Predictions are the same for all weightings, (n, ...), or differ between weightings,
(s, n, ...), since a sample draws members of an ensemble too. A metric that is not defined under a weighting, because a class it
needs has no slide, is NaN. docs/statistics.md explains each metric in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.mil.auroc import auroc, average_precision, rank, ratio

BINS = 10  # number of equal bins of the reliability curve and the calibration error


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    """Return the weighted confusion matrices.

    Args:
        labels: (n,) class indices.
        predicted: (n,) or (s, n) class indices.
        classes: C.
        weights: (s, n).

    Returns:
        (s, C, C); rows are true classes, columns predicted classes.
    """
    return _sums(labels * classes + predicted, classes * classes, weights).reshape(-1, classes, classes)


def measure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    weights: np.ndarray | None = None,
    *,
    order: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """Return every metric of slide predictions; the predicted class is the most probable one.

    Args:
        labels: (n,) class indices.
        probabilities: (n, C) or (s, n, C), rows summing to 1.
        names: of the C classes.
        weights: (s, n); by default one weighting, all ones.
        order: the classes from the mildest to the most severe, where they have an order.

    Returns:
        Values (s,) by name, NaN where not defined: `balanced_accuracy`, and those of `measure_scores` and `measure_classes`.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    decisions = measure_classes(labels, probabilities.argmax(axis=-1), names, weights, order=order)
    first = {"balanced_accuracy": decisions.pop("balanced_accuracy")}
    return {**first, **measure_scores(labels, probabilities, weights), **decisions}


def measure_scores(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics that need no predicted class: `auroc`, `auprc`, `brier`, `ece`.

    With two classes the second is the positive one. With more, `auroc` and `auprc` are macro averages of one class against
    the rest, `brier` is the sum over classes (0 to 2), and `ece` is that of the most probable class (Guo et al. 2017, arXiv 1706.04599).

    Args, Returns: as in `measure`.
    """
    classes = probabilities.shape[-1]
    areas = []
    for c in [1] if classes == 2 else range(classes):
        one = probabilities[..., c]
        ranking = rank(one) if len(labels) else None
        areas.append([area(labels == c, one, weights, ranking) for area in (auroc, average_precision)])
    both = np.mean(areas, axis=0)
    truth = np.eye(classes)[labels]  # (n, C)
    squares = ((probabilities - truth) ** 2).sum(axis=-1)  # for two classes, twice the value of one class
    score, hit = judged(labels, probabilities)
    total = weights.sum(axis=1)
    gap = _sums(_bin(score), BINS, weights * (score - hit))
    return {
        "auroc": both[0],
        "auprc": both[1],
        "brier": ratio((weights * squares).sum(axis=1), total) / (2 if classes == 2 else 1),
        "ece": ratio(np.abs(gap).sum(axis=1), total),
    }


def measure_classes(
    labels: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str],
    weights: np.ndarray,
    *,
    order: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """Return the metrics of predicted classes.

    `balanced_accuracy` is the mean over classes of their sensitivity. With two classes, the second is the positive one:
    `f1`, `sensitivity`, `specificity` are those of that class. With more, `f1` is the mean over classes, and `sensitivity_<class>`
    and `specificity_<class>` compare each class with the rest. Cohen's kappa is `kappa`, or `quadratic_kappa` if the classes have
    an order.

    Args:
        predicted: (n,) or (s, n) class indices.
        labels, names, weights, order: as in `measure`.

    Returns:
        By name, (s,) values; NaN where undefined.
    """
    matrix = confusion(labels, predicted, len(names), weights)
    total, correct = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    true, called = matrix.sum(axis=2), matrix.sum(axis=1)  # (s, C)
    hit = np.diagonal(matrix, axis1=1, axis2=2)
    sensitivity = ratio(hit, true)
    specificity = ratio(total[:, None] - true - (called - hit), total[:, None] - true)
    f1 = ratio(2 * hit, true + called)
    values = {"balanced_accuracy": sensitivity.mean(axis=1), "f1": f1[:, 1] if len(names) == 2 else f1.mean(axis=1)}
    values["kappa" if order is None else "quadratic_kappa"] = _kappa(matrix, order)
    if len(names) == 2:
        values |= {"sensitivity": sensitivity[:, 1], "specificity": specificity[:, 1]}
    else:
        values |= {f"sensitivity_{name}": sensitivity[:, c] for c, name in enumerate(names)}
        values |= {f"specificity_{name}": specificity[:, c] for c, name in enumerate(names)}
    return {**values, "accuracy": ratio(correct, total)}


@dataclass(frozen=True)
class ReliabilityBin:
    """The slides whose probability lies in [low, high): their number, their mean probability, and the observed frequency."""

    low: float
    high: float
    slides: int
    predicted: float
    observed: float


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[ReliabilityBin]:
    """Return the reliability curve: the bins that hold slides.

    Args:
        labels: (n,).
        probabilities: (n, C).
    """
    score, hit = judged(labels, probabilities)
    bins = _bin(score)
    return [
        ReliabilityBin(
            b / BINS, (b + 1) / BINS, int(inside.sum()), float(score[inside].mean()), float(hit[inside].mean())
        )
        for b in range(BINS)
        if (inside := bins == b).any()
    ]


def judged(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability that calibration judges, and whether its class is the true one, (..., n) each.

    For two classes it is the probability of the positive class, for more that of the most probable class.
    """
    if probabilities.shape[-1] == 2:
        score = probabilities[..., 1]
        return score, np.broadcast_to(labels == 1, score.shape)
    return probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels


def _kappa(matrix: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    """Return Cohen's kappa of confusion matrices (s, C, C): 1 - observed / chance disagreement.

    If the classes have an order, disagreement is quadratic in their distance (Cohen 1968).
    """
    classes = matrix.shape[1]
    if order is None:
        disagreement = 1 - np.eye(classes)
    else:
        place = np.argsort(order)
        disagreement = (place[:, None] - place[None, :]) ** 2.0
    total = matrix.sum(axis=(1, 2))
    chance = ratio(matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :], total[:, None, None])
    observed = (matrix * disagreement).sum(axis=(1, 2))
    return 1 - ratio(observed, (chance * disagreement).sum(axis=(1, 2)))


def _bin(score: np.ndarray) -> np.ndarray:
    """Return the bin of each score: bin b is [b / BINS, (b + 1) / BINS), and the last bin includes 1."""
    return np.searchsorted(np.arange(1, BINS) / BINS, score, side="right")


def _sums(index: np.ndarray, size: int, values: np.ndarray) -> np.ndarray:
    """Return the sums (s, size) of `values` (s, n) by `index`, (n,) or (s, n), whose entries are below `size`."""
    flat = index + np.arange(len(values))[:, None] * size
    return np.bincount(flat.ravel(), weights=values.ravel(), minlength=len(values) * size).reshape(-1, size)

"""Metrics of slide predictions, for many weightings of the slides at once.

Every function takes `weights` (s, n), s weightings of n slides, and gives one value for each: a bootstrap sample is a
weighting by how often a slide was drawn, so thousands of samples are a matrix product. A metric that a weighting does
not define (no slide of a class that it needs) is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsc_ray.mil.auroc import auroc, ratio


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    """Weighted confusion matrices.

    Args:
        labels, predicted: (n,) class indices.
        classes: C.
        weights: (s, n).

    Returns:
        (s, C, C): rows are true classes, columns predicted ones.
    """
    cell = np.eye(classes * classes)[labels * classes + predicted]  # (n, C * C)
    return (weights @ cell).reshape(-1, classes, classes)


def measure(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every metric of slide predictions; the predicted class is the most probable one.

    With two classes, the second is the positive one: `balanced_accuracy` (mean of sensitivity and specificity),
    `auroc`, `sensitivity`, `specificity`, `accuracy`. With more, `auroc` is the macro average of one
    class against the rest, `balanced_accuracy` the mean sensitivity, and `sensitivity_<class>` and
    `specificity_<class>` are each class's against the rest.

    Args:
        labels: (n,) class indices.
        probabilities: (n, C), rows summing to 1.
        names: of the C classes.
        weights: (s, n); by default one weighting, all ones.

    Returns:
        By name, (s,) values; NaN where undefined.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    matrix = confusion(labels, probabilities.argmax(axis=1), len(names), weights)
    total, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    true = matrix.sum(axis=2)  # (s, C)
    hit = np.diagonal(matrix, axis1=1, axis2=2)
    sensitivity = ratio(hit, true)
    others = total[:, None] - true
    specificity = ratio(others - (matrix.sum(axis=1) - hit), others)
    values = {"balanced_accuracy": sensitivity.mean(axis=1)}
    if len(names) == 2:
        values["auroc"] = auroc(labels == 1, probabilities[:, 1], weights)
        values |= {"sensitivity": sensitivity[:, 1], "specificity": specificity[:, 1]}
    else:
        each = [auroc(labels == c, probabilities[:, c], weights) for c in range(len(names))]
        values["auroc"] = np.mean(each, axis=0)
        values |= {f"sensitivity_{name}": sensitivity[:, c] for c, name in enumerate(names)}
        values |= {f"specificity_{name}": specificity[:, c] for c, name in enumerate(names)}
    return {**values, "accuracy": ratio(right, total)}

"""Area under the ROC curve, for many weightings at once: choosing a head and measuring it use the same."""

from __future__ import annotations

import numpy as np


def auroc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        positive: (n,) bool.
        scores: (n,).
        weights: (s, n); by default one weighting, all ones.

    Returns:
        (s,), NaN where a weighting has no positive or no negative.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ordered, is_positive, w = scores[order], positive[order], weights[:, order]
    starts = np.flatnonzero(np.r_[True, np.diff(ordered) != 0]) if len(ordered) else np.zeros(0, int)  # of equal scores
    if not len(starts):
        return np.full(len(weights), np.nan)
    pos = np.add.reduceat(np.where(is_positive, w, 0.0), starts, axis=1)  # (s, g) weight of each group of equals
    neg = np.add.reduceat(np.where(is_positive, 0.0, w), starts, axis=1)
    below = np.cumsum(neg, axis=1) - neg
    return ratio((pos * (below + neg / 2)).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)

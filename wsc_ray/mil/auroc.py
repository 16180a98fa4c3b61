"""Area under the ROC curve and average precision, for many weightings at once; used to choose a head and to measure it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """The order of slides by rising score, for one or several rows of scores (r, n).

    Attributes:
        order: (r, n), the slide at each rank.
        first, last: (r, n), the first and the last rank with the same score as each rank.
    """

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def sort(self, values: np.ndarray) -> np.ndarray:
        """Return values of slides, (1 or s, n), in the order of the ranks."""
        return np.take_along_axis(values, self.order, axis=1)


def rank(scores: np.ndarray) -> Ranking:
    """Return the ranking of `scores`, (n,) or (r, n), where n is at least 1."""
    scores = np.atleast_2d(scores)
    order = np.argsort(scores, axis=1)  # the order of equal scores does not change any result
    changes = np.diff(np.take_along_axis(scores, order, axis=1), axis=1) != 0
    edge = np.ones((len(scores), 1), dtype=bool)
    ranks = np.arange(scores.shape[1])
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), ranks, 0), axis=1)
    ends = np.where(np.hstack([changes, edge]), ranks, len(ranks))
    return Ranking(order, first, np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1])


def auroc(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, ranking: Ranking | None = None
) -> np.ndarray:
    """Return the area under the ROC curve: the probability that a positive scores above a negative, ties counted as one half.

    Args:
        positive: (n,) bool.
        scores: (n,), or (s, n) with scores of its own for each weighting.
        weights: (s, n); by default one weighting, all ones.
        ranking: the ranking of the scores, if the caller has it already.

    Returns:
        (s,), NaN where a weighting has no positive or no negative.
    """
    weights = np.ones((1, len(positive))) if weights is None else weights
    if not len(positive):
        return np.full(len(weights), np.nan)
    ranking = ranking or rank(scores)
    w = ranking.sort(weights)
    pos = np.where(ranking.sort(positive[None]), w, 0.0)
    neg = w - pos
    below = np.cumsum(neg, axis=1)  # the negatives up to and including each rank
    before = np.take_along_axis(below - neg, ranking.first, axis=1)
    through = np.take_along_axis(below, ranking.last, axis=1)
    return ratio((pos * (before + through) / 2).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))


def average_precision(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray, ranking: Ranking | None = None
) -> np.ndarray:
    """Return the average precision (area under the precision-recall curve): the mean over positives of the precision at their score.

    Args:
        positive, scores, weights, ranking: as in `auroc`.

    Returns:
        (s,), NaN where a weighting has no positive or no negative.
    """
    if not len(positive):
        return np.full(len(weights), np.nan)
    ranking = ranking or rank(scores)
    w = ranking.sort(weights)
    pos = np.where(ranking.sort(positive[None]), w, 0.0)
    total, everyone = pos.sum(axis=1), w.sum(axis=1)
    # Weights of the slides at or above each score: the total less that of the slides below it.
    true_positives = total[:, None] - np.take_along_axis(np.cumsum(pos, axis=1) - pos, ranking.first, axis=1)
    called = everyone[:, None] - np.take_along_axis(np.cumsum(w, axis=1) - w, ranking.first, axis=1)
    precision = np.divide(true_positives, called, out=np.zeros_like(true_positives), where=called > 0)
    return np.where(everyone > total, ratio((pos * precision).sum(axis=1), total), np.nan)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)

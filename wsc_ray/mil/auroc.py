"""Area under the ROC curve, for many weightings at once: choosing a head and measuring it use the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """Slides in the order of rising scores, for one or several rows of scores (r, n).

    Attributes:
        order: (r, n), the slide at each rank.
        first, last: (r, n), the first and the last rank with the same score as each rank.
    """

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def sort(self, values: np.ndarray) -> np.ndarray:
        """Values of slides, (1 or s, n), by rank."""
        return np.take_along_axis(values, self.order, axis=1)


def rank(scores: np.ndarray) -> Ranking:
    """The ranking of `scores`, (n,) or (r, n), n of 1 at least."""
    scores = np.atleast_2d(scores)
    order = np.argsort(scores, axis=1)  # in which order equal scores come decides nothing
    changes = np.diff(np.take_along_axis(scores, order, axis=1), axis=1) != 0
    edge = np.ones((len(scores), 1), dtype=bool)
    ranks = np.arange(scores.shape[1])
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), ranks, 0), axis=1)
    ends = np.where(np.hstack([changes, edge]), ranks, len(ranks))
    return Ranking(order, first, np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1])


def auroc(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, ranking: Ranking | None = None
) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        positive: (n,) bool.
        scores: (n,), or (s, n): of each weighting its own.
        weights: (s, n); by default one weighting, all ones.
        ranking: of the scores, where it is known.

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
    below = np.cumsum(neg, axis=1)  # the negatives up to each rank, with it
    before = np.take_along_axis(below - neg, ranking.first, axis=1)
    through = np.take_along_axis(below, ranking.last, axis=1)
    return ratio((pos * (before + through) / 2).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))


def average_precision(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray, ranking: Ranking | None = None
) -> np.ndarray:
    """Area under the precision-recall curve as average precision: the mean over positives of the precision at their score.

    Args:
        positive, scores, weights, ranking: as of `auroc`.

    Returns:
        (s,), NaN where a weighting has no positive or no negative.
    """
    if not len(positive):
        return np.full(len(weights), np.nan)
    ranking = ranking or rank(scores)
    w = ranking.sort(weights)
    pos = np.where(ranking.sort(positive[None]), w, 0.0)
    total, everyone = pos.sum(axis=1), w.sum(axis=1)
    # From each score upwards: all there are, less those below it.
    found = total[:, None] - np.take_along_axis(np.cumsum(pos, axis=1) - pos, ranking.first, axis=1)
    called = everyone[:, None] - np.take_along_axis(np.cumsum(w, axis=1) - w, ranking.first, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return np.where(everyone > total, ratio((pos * precision).sum(axis=1), total), np.nan)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)

"""What the members of an ensemble say of slides, and what the ensemble says: the mean of those who never saw the slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wsc_ray.random import uniform


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """Probabilities of n slides by M members.

    Attributes:
        names: of the members, (M,).
        seeds: (M,).
        folds: of each member the fold that was held out from it, None: the test split. (M,)
        probabilities: (M, n, C) float64, NaN where the member has seen the slide; each slide has a member at least.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: tuple[str | None, ...]
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def unseen(self) -> np.ndarray:
        """Which slides a member may be measured on, (M, n) bool."""
        return ~np.isnan(self.probabilities[:, :, 0])

    @property
    def fold_names(self) -> list[str | None]:
        """The folds in the order in which members name them; [None] without folds."""
        return list(dict.fromkeys(self.folds))

    @property
    def drawn(self) -> bool:
        """Whether draws of members differ: a fold has several."""
        return any(self.folds.count(fold) > 1 for fold in self.fold_names)

    def of_fold(self, fold: str | None) -> np.ndarray:
        """The members of a fold, (M,) bool."""
        return np.array([each == fold for each in self.folds])

    def ensemble(self, times: np.ndarray | None = None) -> np.ndarray:
        """Mean probabilities of the members that never saw the slide.

        Args:
            times: how often each member counts, (s, M); by default each once.

        Returns:
            (n, C), or (s, n, C) with `times`.
        """
        members, slides, classes = self.probabilities.shape
        given = np.ones((1, members)) if times is None else times
        flat = np.nan_to_num(self.probabilities).reshape(members, -1)
        summed = (given @ flat).reshape(-1, slides, classes)
        mean = summed / (given @ self.unseen.astype(np.float64))[:, :, None]
        return mean[0] if times is None else mean


def draw_members(members: MemberPredictions, samples: range, seed: int, stream: int = 0) -> np.ndarray:
    """How often each member is in each bootstrap sample.

    Of the k members of a fold, k - 1 are drawn with replacement, which gives the mean of k its variance; k draws give
    (k - 1) / k of it, a fifth too little for five seeds (Rao and Wu 1988, doi:10.1080/01621459.1988.10478591). One member alone is
    always there.

    Args:
        samples: numbers of the samples.
        seed: with the sample, the fold and `stream` it decides a draw.
        stream: of several ensembles, which one.

    Returns:
        (len(samples), M) float64.
    """
    times = np.zeros((len(samples), len(members)))
    for number, fold in enumerate(members.fold_names):
        where = np.flatnonzero(members.of_fold(fold))
        if len(where) == 1:
            times[:, where] = 1
            continue
        for row, sample in enumerate(samples):
            # A key that ends in 0 would be the one of the patients' draws.
            drawn = (uniform(len(where) - 1, seed, sample, 1 + stream, 1 + number) * len(where)).astype(np.int64)
            times[row, where] = np.bincount(drawn, minlength=len(where))
    return times


def pool(parts: Sequence[tuple[np.ndarray, np.ndarray]], slides: int, classes: int) -> np.ndarray:
    """Members' probabilities side by side, (M, n, C): of each its slides, (k,) indices, and its probabilities, (k, C)."""
    pooled = np.full((len(parts), slides, classes), np.nan)
    for row, (where, probabilities) in zip(pooled, parts, strict=True):
        row[where] = probabilities
    return pooled

"""The predictions of an ensemble's members, and of the ensemble: the mean of the members that never saw the slide."""

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
        names: (M,), the members' names.
        seeds: (M,), the members' seeds.
        folds: (M,), the fold that was held out from each member; None for the test split.
        probabilities: (M, n, C) float64, NaN if the member has seen the slide; each slide has at least one member that has not.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: tuple[str | None, ...]
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def unseen(self) -> np.ndarray:
        """Whether a member may be measured on a slide, (M, n) bool."""
        return ~np.isnan(self.probabilities[:, :, 0])

    @property
    def fold_names(self) -> list[str | None]:
        """The folds in the order of the members; [None] without folds."""
        return list(dict.fromkeys(self.folds))

    @property
    def drawn(self) -> bool:
        """Whether draws of members can differ, because a fold has several members."""
        return any(self.folds.count(fold) > 1 for fold in self.fold_names)

    def of_fold(self, fold: str | None) -> np.ndarray:
        """Return whether each member is of a fold, (M,) bool."""
        return np.array([member_fold == fold for member_fold in self.folds])

    def ensemble(self, times: np.ndarray | None = None) -> np.ndarray:
        """Return the mean probabilities of the members that never saw the slide.

        Args:
            times: (s, M), how often each member counts; by default each counts once.

        Returns:
            (n, C), or (s, n, C) with `times`.
        """
        members, slides, classes = self.probabilities.shape
        counts = np.ones((1, members)) if times is None else times
        flat = np.nan_to_num(self.probabilities).reshape(members, -1)
        summed = (counts @ flat).reshape(-1, slides, classes)
        mean = summed / (counts @ self.unseen.astype(np.float64))[:, :, None]
        return mean[0] if times is None else mean


def draw_members(members: MemberPredictions, samples: range, seed: int, stream: int = 0) -> np.ndarray:
    """Return how often each member is in each bootstrap sample.

    Of the k members of a fold, k - 1 are drawn with replacement, which gives the right variance of the mean of k; k draws would give
    (k - 1) / k of it, a fifth too little for five seeds (Rao and Wu 1988, doi:10.1080/01621459.1988.10478591). A single member is in
    every sample once.

    Args:
        samples: the numbers of the samples.
        seed: the seed; a draw depends on it, the sample, the fold and `stream`.
        stream: the number of the ensemble, if there are several.

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
            # The 1 + number keeps the key from ending in 0, which would give the random numbers of the patients' draws.
            drawn = (uniform(len(where) - 1, seed, sample, 1 + stream, 1 + number) * len(where)).astype(np.int64)
            times[row, where] = np.bincount(drawn, minlength=len(where))
    return times


def pool(parts: Sequence[tuple[np.ndarray, np.ndarray]], slides: int, classes: int) -> np.ndarray:
    """Return the members' probabilities in one array, (M, n, C), NaN elsewhere.

    `parts` has each member's slides (k,) and probabilities (k, C).
    """
    pooled = np.full((len(parts), slides, classes), np.nan)
    for row, (where, probabilities) in zip(pooled, parts, strict=True):
        row[where] = probabilities
    return pooled

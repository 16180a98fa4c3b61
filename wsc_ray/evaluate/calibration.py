"""Choosing a temperature and a threshold on validation slides, and applying them to test slides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from wsc_ray.evaluate.ensemble import MemberPredictions

_TEMPERATURES = (0.05, 20.0)
_LEAST = 1e-300  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Choice:
    """The temperature and threshold that are chosen on the validation slides of one fold.

    Attributes:
        fold: the fold; None without folds.
        temperature: log-probabilities are divided by it; 1 changes nothing.
        threshold: the least probability of the positive class at which a slide is called positive; None with more than two classes.
        slides: the number of validation slides.
    """

    fold: str | None
    temperature: float
    threshold: float | None
    slides: int


def choose(fold: str | None, labels: np.ndarray, probabilities: np.ndarray) -> Choice | None:
    """Choose temperature and threshold on validation slides; return None if these lack a class.

    Args:
        labels: (n,) class indices.
        probabilities: (n, C), those of the ensemble.
    """
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes:
        return None
    threshold = youden_threshold(labels == 1, probabilities[:, 1]) if classes == 2 else None
    return Choice(fold, best_temperature(labels, probabilities), threshold, len(labels))


def best_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature with the lowest mean negative log-likelihood (Guo et al. 2017, arXiv 1706.04599), from 0.05 to 20.

    Args:
        labels: (n,).
        probabilities: (n, C).
    """
    logs = np.log(np.maximum(probabilities, _LEAST))
    rows = np.arange(len(labels))

    def loss(inverse: float) -> float:  # convex in 1 / T
        scaled = logs * inverse
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[rows, labels]).mean())

    low, high = _TEMPERATURES
    minimum = minimize_scalar(loss, bounds=(1 / high, 1 / low), method="bounded", options={"xatol": 1e-8})
    return float(1 / minimum.x)


def tempered(probabilities: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Return probabilities (..., n, C) whose logarithms are divided by each slide's temperature (n,), normalised again."""
    scaled = np.log(np.maximum(probabilities, _LEAST)) / temperatures[:, None]
    return np.exp(scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True))


def youden_threshold(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1 (Youden 1950); among equals the one nearest to 0.5.

    Candidates lie in the middle between neighbouring scores, so that the rounding of a score does not matter.

    Args:
        positive: (n,) bool, with at least one of each.
        scores: (n,) in [0, 1].
    """
    values = np.unique(scores)
    candidates = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]])
    rates = []
    for group in (np.sort(scores[positive]), np.sort(scores[~positive])):
        rates.append(1 - np.searchsorted(group, candidates, side="left") / len(group))
    gain = rates[0] - rates[1]
    best = candidates[gain >= gain.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


@dataclass(frozen=True, eq=False)
class Calibration:
    """The choices, one per fold, and the temperature and threshold that apply to each of n test slides."""

    choices: tuple[Choice, ...]
    temperatures: np.ndarray  # (n,)
    thresholds: np.ndarray | None  # (n,); None with more than two classes

    def predicted(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the predicted classes (..., n) of probabilities (..., n, C), by the thresholds.

        Without thresholds, return the most probable classes.
        """
        if self.thresholds is None:
            return probabilities.argmax(axis=-1)
        return (probabilities[..., 1] >= self.thresholds).astype(np.int64)

    def described(self) -> list[dict[str, Any]]:
        return [vars(choice) for choice in self.choices]


def calibrate(test: MemberPredictions, validation: MemberPredictions, labels: np.ndarray) -> Calibration | None:
    """Choose temperatures and thresholds, for each fold on the validation slides of its own members.

    Args:
        test: the members' predictions for n test slides.
        validation: the same members' predictions for v validation slides; NaN for slides that are not the member's.
        labels: (v,) class indices of the validation slides.

    Returns:
        The calibration; None if the validation slides of a fold lack a class.
    """
    slides, classes = test.probabilities.shape[1:]
    temperatures, thresholds = np.ones(slides), np.full(slides, 0.5)
    choices = []
    for fold in test.fold_names:
        own = validation.of_fold(fold)
        predicted = validation.unseen[own].any(axis=0)
        if not predicted.any():
            return None
        probabilities = np.nanmean(validation.probabilities[own][:, predicted], axis=0)
        choice = choose(fold, labels[predicted], probabilities)
        if choice is None:
            return None
        choices.append(choice)
        here = test.unseen[test.of_fold(fold)].any(axis=0)
        temperatures[here] = choice.temperature
        thresholds[here] = 0.5 if choice.threshold is None else choice.threshold
    return Calibration(tuple(choices), temperatures, thresholds if classes == 2 else None)

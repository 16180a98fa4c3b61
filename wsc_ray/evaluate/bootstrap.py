"""Percentile bootstrap over patients and members together.

Slides of one patient are not independent, so that patients are drawn instead of slides. A fit depends on its seed, so that the
members of an ensemble are drawn too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.evaluate.ensemble import MemberPredictions, draw_members
from wsc_ray.random import uniform

CELLS = 1_000_000  # number of weights in memory at a time, samples times slides


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Its ends are NaN if the metric was defined in no sample. `left_out` is the number of samples that did not define it.
    """

    low: float
    high: float
    left_out: int


@dataclass(frozen=True, eq=False)
class Resample:
    """s bootstrap samples: how often each contains each slide, (s, n), and for each ensemble each member, (s, M)."""

    weights: np.ndarray
    times: tuple[np.ndarray, ...]

    def probabilities(self, members: MemberPredictions, ensemble: int = 0) -> np.ndarray:
        """Return an ensemble's probabilities with the drawn members: (s, n, C), or (n, C) if all draws are equal."""
        return members.ensemble(self.times[ensemble]) if members.drawn else members.ensemble()


Statistic = Callable[[Resample], Mapping[str, np.ndarray]]


def patient_weights(patients: Sequence[str], samples: range, seed: int) -> np.ndarray:
    """Return how often each slide is in each bootstrap sample; a sample draws as many patients as there are, with replacement.

    Sample i depends only on the seed, i and the number of patients.

    Args:
        patients: patient of each slide, (n,).
        samples: the numbers of the samples.
        seed: the seed of the draws.

    Returns:
        (len(samples), n) float64.
    """
    names, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = len(names)
    drawn = np.stack([(uniform(count, seed, sample) * count).astype(np.int64) for sample in samples])
    flat = drawn + np.arange(len(drawn))[:, None] * count
    times = np.bincount(flat.ravel(), minlength=len(drawn) * count).reshape(-1, count)
    return times[:, index].astype(np.float64)


def resampled(
    statistic: Statistic,
    patients: Sequence[str],
    ensembles: Sequence[MemberPredictions] = (),
    *,
    samples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the statistic's values in every bootstrap sample, (samples,) by name, corrected for the bias of drawing members.

    A sample holds some members several times and others not at all, so that it averages fewer different members than there are,
    and the average of fewer members is slightly worse. This bias is measured on all slides, with the same draws of members, and
    subtracted.

    Args:
        statistic: a function from a `Resample` of s samples to values (s,) by name.
        patients: patient of each slide, (n,).
        ensembles: the ensembles whose members are drawn, independently of each other.
        samples: the number of samples.
        seed: the seed of the draws.
    """
    at_once = max(1, CELLS // max(1, len(patients)))
    drawn = any(members.drawn for members in ensembles)
    parts: dict[str, list[np.ndarray]] = {}
    alone: dict[str, list[np.ndarray]] = {}
    for start in range(0, samples, at_once):
        numbers = range(start, min(start + at_once, samples))
        times = tuple(draw_members(members, numbers, seed, stream) for stream, members in enumerate(ensembles))
        weights = patient_weights(patients, numbers, seed)
        for name, values in statistic(Resample(weights, times)).items():
            parts.setdefault(name, []).append(values)
        if drawn:
            for name, values in statistic(Resample(np.ones_like(weights), times)).items():
                alone.setdefault(name, []).append(values)
    values_of = {name: np.concatenate(values) for name, values in parts.items()}
    if drawn:
        whole = tuple(np.ones((1, len(members))) for members in ensembles)
        points = statistic(Resample(np.ones((1, len(patients))), whole))
        for name, values in values_of.items():
            bias = np.mean(np.concatenate(alone[name])) - points[name][0]
            values_of[name] = values - (0.0 if np.isnan(bias) else bias)
    return values_of


def bootstrap(
    statistic: Statistic,
    patients: Sequence[str],
    ensembles: Sequence[MemberPredictions] = (),
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Interval]:
    """Return the intervals of a statistic's metrics, by name.

    Samples are not stratified (a patient may have slides of several classes). A sample in which a metric is not defined, because a
    class is missing, is left out of that metric's interval and counted. A metric of 1, and a sensitivity or
    specificity of 0, are the same in every sample, and their intervals have no width: they do not reflect the number of patients.

    Args:
        statistic, patients, ensembles, samples, seed: as in `resampled`.
        confidence: the level, such as 0.95.
    """
    values = resampled(statistic, patients, ensembles, samples=samples, seed=seed)
    return {name: interval(in_samples, confidence) for name, in_samples in values.items()}


def interval(values: np.ndarray, confidence: float) -> Interval:
    """Return the percentile interval of a statistic's values in bootstrap samples, (s,)."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"), len(values))
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), len(values) - len(defined))

"""Percentile bootstrap over patients and members together.

Slides of one patient are not independent, so patients are what is drawn. A fit moves with its seed, so the members of an
ensemble are drawn beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.evaluate.ensemble import MemberPredictions, draw_members
from wsc_ray.random import uniform

CELLS = 1_000_000  # weights held at a time, samples times slides


@dataclass(frozen=True)
class Interval:
    """A percentile interval; NaN where no sample defined the metric. `left_out` counts the samples that did not."""

    low: float
    high: float
    left_out: int


@dataclass(frozen=True, eq=False)
class Resample:
    """Some bootstrap samples: how often each slide is in them, (s, n), and each member of each ensemble, (s, M)."""

    weights: np.ndarray
    times: tuple[np.ndarray, ...]

    def probabilities(self, members: MemberPredictions, ensemble: int = 0) -> np.ndarray:
        """What an ensemble's drawn members say: (s, n, C), or (n, C) where no draw differs."""
        return members.ensemble(self.times[ensemble]) if members.drawn else members.ensemble()


Statistic = Callable[[Resample], Mapping[str, np.ndarray]]


def patient_weights(patients: Sequence[str], samples: range, seed: int) -> np.ndarray:
    """How often each slide is in each bootstrap sample: its patient's draws, with replacement, of as many patients.

    Sample i depends on the seed, i and the number of patients alone.

    Args:
        patients: patient of each slide, (n,).
        samples: numbers of the samples.

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
    """The statistic of every bootstrap sample, (samples,) by name, as if it had no bias from drawing members.

    A sample holds some members several times and others not at all: fewer different members are averaged than there are,
    and an average of fewer is a little worse. How much is measured on all slides, by the same draws of members, and
    taken out.

    Args:
        statistic: from a `Resample` of s samples to values (s,) by name.
        patients: patient of each slide, (n,).
        ensembles: whose members are drawn, each apart from the others.
        samples: how many.
    """
    at_once = max(1, CELLS // max(1, len(patients)))
    drawn = any(members.drawn for members in ensembles)
    parts: dict[str, list[np.ndarray]] = {}
    alone: dict[str, list[np.ndarray]] = {}
    for start in range(0, samples, at_once):
        some = range(start, min(start + at_once, samples))
        times = tuple(draw_members(each, some, seed, number) for number, each in enumerate(ensembles))
        weights = patient_weights(patients, some, seed)
        for name, values in statistic(Resample(weights, times)).items():
            parts.setdefault(name, []).append(values)
        if drawn:
            for name, values in statistic(Resample(np.ones_like(weights), times)).items():
                alone.setdefault(name, []).append(values)
    values_of = {name: np.concatenate(values) for name, values in parts.items()}
    if drawn:
        whole = tuple(np.ones((1, len(each))) for each in ensembles)
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
    """Intervals of the metrics of a statistic.

    Samples are not stratified (a patient may have slides of several classes). A sample that does not define a metric,
    for want of a class, is left out of that metric's interval and counted. Where a metric is perfect, so is every
    sample, and the interval has no width: it then says nothing about how many patients there were.

    Args:
        statistic, patients, ensembles, samples, seed: as of `resampled`.
        confidence: level, such as 0.95.
    """
    values = resampled(statistic, patients, ensembles, samples=samples, seed=seed)
    return {name: interval(each, confidence) for name, each in values.items()}


def interval(values: np.ndarray, confidence: float) -> Interval:
    """The percentile interval of a statistic's values in bootstrap samples, (s,)."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"), len(values))
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), len(values) - len(defined))

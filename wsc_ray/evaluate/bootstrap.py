"""Percentile bootstrap over patients: slides of one patient are not independent, so patients are what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.random import uniform

CELLS = 4_000_000  # weights held at a time, samples times slides


@dataclass(frozen=True)
class Interval:
    """A percentile interval; NaN where no sample defined the metric. `left_out` counts the samples that did not."""

    low: float
    high: float
    left_out: int


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


def bootstrap(
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    patients: Sequence[str],
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of the metrics that `statistic` computes from weights.

    Samples are not stratified (a patient may have slides of several classes). A sample that does not define a metric,
    for want of a class, is left out of that metric's interval and counted. Where a metric is perfect, so is every
    sample, and the interval has no width: it then says nothing about how many patients there were.

    Args:
        statistic: from weights (s, n) to values (s,) by name, such as `metrics.measure`.
        patients: patient of each slide, (n,).
        samples: how many.
        confidence: level, such as 0.95.
    """
    at_once = max(1, CELLS // max(1, len(patients)))
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, samples, at_once):
        weights = patient_weights(patients, range(start, min(start + at_once, samples)), seed)
        for name, values in statistic(weights).items():
            parts.setdefault(name, []).append(values)
    return {name: _interval(np.concatenate(values), confidence) for name, values in parts.items()}


def _interval(values: np.ndarray, confidence: float) -> Interval:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"), len(values))
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), len(values) - len(defined))

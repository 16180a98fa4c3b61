"""Interleaved timing: each round times every contender once, in rotated order, so that other work on the machine
affects all of them alike. A ratio is computed within each round, and its median is reported.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from wsc_ray.bench.rounds import rotations

FILL = 0.02  # seconds: a sample that is shorter is the mean over as many calls as fill this, at most MOST_CALLS
MOST_CALLS = 100
BUDGET = 45.0  # seconds of sampling, after which no further round begins, once there are FEWEST_ROUNDS
FEWEST_ROUNDS = 3


def calls_for(seconds: float) -> int:
    """How many calls make one sample, when one call takes so long."""
    return min(MOST_CALLS, max(1, math.ceil(FILL / max(seconds, 1e-9))))


def rounds_for(round_seconds: float, repeats: int) -> int:
    """How many rounds fit into the budget, when one takes so long: at most `repeats`, at least a few."""
    return min(repeats, max(FEWEST_ROUNDS, int(BUDGET / max(round_seconds, 1e-9))))


def time_rounds(
    steps: Mapping[str, Callable[[], None]], rounds: int, calls: Mapping[str, int], fence: Callable[[], None]
) -> dict[str, list[float]]:
    """Seconds per call of every step, one sample a round; `fence` runs before each sample (a barrier of processes)."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for order in rotations(list(steps), rounds):
        for name in order:
            fence()
            started = time.perf_counter()
            for _ in range(calls[name]):
                steps[name]()
            samples[name].append((time.perf_counter() - started) / calls[name])
    return samples


def slowest(per_process: Sequence[Sequence[float]]) -> list[float]:
    """One time a round from each process's times: all have ended when the slowest has."""
    return [max(times) for times in zip(*per_process, strict=True)]


def quartiles(samples: Sequence[float]) -> dict[str, float]:
    """Median and quartiles (inclusive: a sample of one is all three)."""
    if len(samples) == 1:
        return {"median": samples[0], "q1": samples[0], "q3": samples[0]}
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def ratio(baseline: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Median and quartiles over the rounds of baseline / ours: above 1 we are the faster."""
    return quartiles([theirs / mine for theirs, mine in zip(baseline, ours, strict=True)])

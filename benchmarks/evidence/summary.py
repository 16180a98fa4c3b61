"""Summarising the results of a study: means over seeds, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.evidence.study import ARMS

OURS = "weaksupcon"
_SEED = 11


@dataclass(frozen=True)
class Row:
    """An arm at a share of tumour.

    Attributes:
        auroc: over test slides, mean over trainings and heads.
        low, high: of the trainings' own means.
        attention, linear, distance: AUROC over patches, means.
        difference: the auroc of WeakSupCon less this arm's, with the ends of its 95% interval; None for itself.
        collapsed: trainings whose features were one point in the end.
    """

    fraction: float
    arm: str
    auroc: float
    low: float
    high: float
    attention: float
    linear: float
    distance: float
    difference: tuple[float, float, float] | None
    collapsed: int


def summarise(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each share of tumour and arm."""
    rows = []
    for fraction in sorted({result["fraction"] for result in results}):
        here = {arm: [r for r in results if r["fraction"] == fraction and r["arm"] == arm] for arm in ARMS}
        for arm, own in here.items():
            of_seeds = [float(np.mean(result["auroc"])) for result in own]
            rows.append(
                Row(
                    fraction=fraction,
                    arm=arm,
                    auroc=float(np.mean(of_seeds)),
                    low=min(of_seeds),
                    high=max(of_seeds),
                    attention=_mean(own, "attention_auroc"),
                    linear=_mean(own, "linear_auroc"),
                    distance=_mean(own, "distance_auroc"),
                    difference=None if arm == OURS else paired_difference(here[OURS], own),
                    collapsed=sum(bool(result.get("last", {}).get("collapsed")) for result in own),
                )
            )
    return rows


def paired_difference(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], draws: int = 2000
) -> tuple[float, float, float]:
    """How far one arm's AUROC is above another's: of the test slides, and the ends of a 95% interval.

    A draw takes one bootstrap of the test patches, the same for both arms, and draws each arm's trainings with replacement, and each
    training's heads. The frozen features' "trainings" differ in their heads' seeds alone.
    """
    value = _mean(ours, "auroc") - _mean(theirs, "auroc")
    one, other = (np.array([result["resampled"] for result in results]) for results in (ours, theirs))
    rng = np.random.default_rng(_SEED)
    found = [
        _drawn(one, rng, number) - _drawn(other, rng, number)
        for number in rng.integers(0, one.shape[2], draws).tolist()
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return value, float(low), float(high)


def _drawn(scores: np.ndarray, rng: np.random.Generator, number: int) -> float:
    """The mean of trainings and heads that are drawn with replacement, (trainings, heads, resamples)."""
    trainings, heads, _ = scores.shape
    picked = rng.integers(0, trainings, trainings)
    return float(np.mean([scores[each, rng.integers(0, heads, heads), number].mean() for each in picked]))


def _mean(results: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([np.mean(result[name]) for result in results]))

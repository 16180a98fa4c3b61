"""Summarising the results of a study: means over seeds, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.evidence.measure import HEADS
from benchmarks.evidence.study import ARMS, PATCH_MEASURES

OURS = "weaksupcon"
_SEED = 11


@dataclass(frozen=True)
class Row:
    """An arm at a share of tumour, by one head, over the test slides.

    Attributes:
        auroc: mean over trainings and fits.
        low, high: of the trainings' own means.
        balanced_accuracy: mean.
        attention: AUROC of the attention for tumour patches, mean; 0.5 of a head without attention.
        difference: the auroc of WeakSupCon less this arm's, with the ends of its 95% interval; None for itself.
    """

    fraction: float
    arm: str
    head: str
    auroc: float
    low: float
    high: float
    balanced_accuracy: float
    attention: float
    difference: tuple[float, float, float] | None


@dataclass(frozen=True)
class PatchRow:
    """An arm at a share of tumour, over the test patches.

    Attributes:
        aurocs: by measure, mean over trainings.
        collapsed: trainings whose features were one point in the end.
    """

    fraction: float
    arm: str
    aurocs: dict[str, float]
    collapsed: int


Results = Sequence[Mapping[str, Any]]


def summarise(results: Results) -> list[Row]:
    """A row for each share of tumour, head and arm."""
    rows = []
    for fraction, arms in _by_fraction(results):
        for head in HEADS:
            of_head = {arm: [result["heads"][head] for result in own] for arm, own in arms.items()}
            for arm, own in of_head.items():
                of_seeds = [float(np.mean(found["auroc"])) for found in own]
                rows.append(
                    Row(
                        fraction=fraction,
                        arm=arm,
                        head=head,
                        auroc=float(np.mean(of_seeds)),
                        low=min(of_seeds),
                        high=max(of_seeds),
                        balanced_accuracy=_mean(own, "balanced_accuracy"),
                        attention=_mean(own, "attention"),
                        difference=None if arm == OURS else paired_difference(of_head[OURS], own),
                    )
                )
    return rows


def summarise_patches(results: Results) -> list[PatchRow]:
    """A row for each share of tumour and arm."""
    return [
        PatchRow(
            fraction=fraction,
            arm=arm,
            aurocs={name: float(np.mean([result["patches"][name] for result in own])) for name in PATCH_MEASURES},
            collapsed=sum(bool(result.get("last", {}).get("collapsed")) for result in own),
        )
        for fraction, arms in _by_fraction(results)
        for arm, own in arms.items()
    ]


def _by_fraction(results: Results) -> list[tuple[float, dict[str, Results]]]:
    return [
        (
            fraction,
            {arm: [r for r in results if r["fraction"] == fraction and r["arm"] == arm] for arm in ARMS},
        )
        for fraction in sorted({result["fraction"] for result in results})
    ]


def paired_difference(ours: Results, theirs: Results, draws: int = 2000) -> tuple[float, float, float]:
    """How far one arm's AUROC is above another's: of the test slides, and the ends of a 95% interval.

    Args:
        ours, theirs: what a head came to on each training's features.

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


def _mean(results: Results, name: str) -> float:
    return float(np.mean([np.mean(result[name]) for result in results]))

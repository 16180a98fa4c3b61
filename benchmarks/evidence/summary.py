"""The summary of a study's results: means over seeds, and paired differences with intervals."""

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
    """The results of one arm at one share of tumour, with one head, on the test slides.

    Attributes:
        auroc: mean over trainings and fits.
        low, high: lowest and highest mean of a training.
        balanced_accuracy: mean over trainings and fits.
        attention: mean AUROC of attention for tumour patches; 0.5 for a head without attention.
        difference: WeakSupCon's AUROC minus this arm's, with the ends of its 95% interval; None for WeakSupCon itself.
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
    """The results of one arm at one share of tumour, on the test patches.

    Attributes:
        aurocs: measure -> mean over trainings.
        collapsed: number of trainings whose features were one point at the end.
    """

    fraction: float
    arm: str
    aurocs: dict[str, float]
    collapsed: int


Results = Sequence[Mapping[str, Any]]


def summarise(results: Results) -> list[Row]:
    """Return a row for each share of tumour, head and arm."""
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
    """Return a row for each share of tumour and arm."""
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
    """Return the difference between two arms' AUROC on the test slides, and the ends of its 95% interval.

    A draw takes one bootstrap sample of the test patches, the same for both arms, and draws each arm's trainings with replacement, and each
    training's heads. The "trainings" of the frozen features differ only in the seeds of their heads.

    Args:
        ours, theirs: the results of a head on each training's features.
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
    """Return the mean over trainings and heads drawn with replacement.

    Args:
        scores: (trainings, heads, resamples).
        number: index of the resample.
    """
    trainings, heads, _ = scores.shape
    picked = rng.integers(0, trainings, trainings)
    return float(np.mean([scores[each, rng.integers(0, heads, heads), number].mean() for each in picked]))


def _mean(results: Results, name: str) -> float:
    return float(np.mean([np.mean(result[name]) for result in results]))

"""From what every worker did in every step to the figures of a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.pretrain.clock import PHASES

Row = Mapping[str, float]  # of one worker in one step: step, rank, patches, seconds by phase, bytes


@dataclass(frozen=True)
class Setting:
    """One thing that is measured.

    Attributes:
        mode: `weak`: every worker has the same number of patches; `strong`: the global batch stays that of the fewest
            workers.
        work: `training`, `data` (received and dropped) or `mock` (a model that takes a given time).
        workers: how many.
        batch_size: patches of the global batch.
    """

    mode: str
    work: str
    workers: int
    batch_size: int


@dataclass(frozen=True)
class Figures:
    """What a setting gave in the steps that count.

    Attributes:
        setting: that was measured.
        rates: patches a second of all workers, run by run.
        p50, p95: seconds of a step, that of the slowest worker.
        seconds: of a worker's step by phase, the mean.
        loss_bytes, gradient_bytes: that each worker gives to a step's collectives, the median.
        spilled: bytes that the object stores wrote to disk meanwhile; None where nobody says.
    """

    setting: Setting
    rates: tuple[float, ...]
    p50: float
    p95: float
    seconds: dict[str, float]
    loss_bytes: float
    gradient_bytes: float
    spilled: float | None

    @property
    def shares(self) -> dict[str, float]:
        """Shares of a worker's time by phase; they add up to 1."""
        whole = sum(self.seconds.values())
        return {phase: seconds / whole for phase, seconds in self.seconds.items()}

    @property
    def rate(self) -> float:
        """Patches a second of all workers, the median over runs."""
        return statistics.median(self.rates)

    @property
    def rate_per_worker(self) -> float:
        """Patches a second of one worker, the median over runs."""
        return self.rate / self.setting.workers


def figures(setting: Setting, rows: Sequence[Row], counted: range, spilled: float | None) -> Figures:
    """The figures of a setting.

    Args:
        rows: a row for each worker in each step, of one run or several; `run` tells them apart, and each counts its
            steps from 0.
        counted: the steps that count.
        spilled: see `Figures`.
    """
    kept = [row for row in rows if row["step"] in counted]
    assert kept, "no step that counts"
    runs: dict[float, list[Row]] = {row.get("run", 0): [] for row in kept}
    for row in kept:
        runs[row.get("run", 0)].append(row)
    steps = [step for run in runs.values() for step in _slowest(run, "step")]  # ended when its slowest worker has
    return Figures(
        setting=setting,
        rates=tuple(sum(row["patches"] for row in run) / _seconds(setting, run) for _, run in sorted(runs.items())),
        p50=statistics.median(steps),
        p95=float(np.percentile(steps, 95)),
        seconds={phase: statistics.mean(row[phase] for row in kept) for phase in PHASES},
        # The median: where a run logs, it also exchanges features to say how healthy they are.
        loss_bytes=statistics.median_high(row.get("loss_bytes", 0) for row in kept),
        gradient_bytes=statistics.median_high(row.get("gradient_bytes", 0) for row in kept),
        spilled=spilled,
    )


def _seconds(setting: Setting, run: Sequence[Row]) -> float:
    """How long a run's steps took: without training no worker waits for another, and all have ended when the slowest has."""
    return sum(_slowest(run, "step")) if setting.work == "training" else max(_slowest(_totals(run), "rank"))


def _slowest(rows: Sequence[Row], key: str) -> list[float]:
    """The longest of the workers' times for each value of the key."""
    found: dict[float, list[float]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(sum(row[phase] for phase in PHASES))
    return [max(seconds) for seconds in found.values()]


def _totals(run: Sequence[Row]) -> list[dict[str, float]]:
    """A worker's phases over all steps of a run."""
    found: dict[float, dict[str, float]] = {}
    for row in run:
        total = found.setdefault(row["rank"], {"rank": row["rank"], **dict.fromkeys(PHASES, 0.0)})
        for phase in PHASES:
            total[phase] += row[phase]
    return list(found.values())


def efficiency(one: Figures, base: Figures) -> float:
    """A worker's rate as a share of a worker's rate in `base`: the median of the rounds' ratios."""
    ratios = [rate / base_rate for rate, base_rate in zip(one.rates, base.rates, strict=True)]
    return statistics.median(ratios) * base.setting.workers / one.setting.workers


def base_of(found: Sequence[Figures], one: Figures) -> Figures:
    """Of all that was measured, what `one` is compared with: its work and mode with the fewest workers."""
    alike = (one.setting.work, one.setting.mode)
    same = [each for each in found if (each.setting.work, each.setting.mode) == alike]
    return min(same, key=lambda each: each.setting.workers)


def as_row(one: Figures, found: Sequence[Figures]) -> dict[str, Any]:
    """A flat row for the summary and MLflow; `found` is all that was measured."""
    setting = one.setting
    return {
        "work": setting.work,
        "mode": setting.mode,
        "workers": setting.workers,
        "batch_size": setting.batch_size,
        "patches_per_second": one.rate,
        "patches_per_second_per_worker": one.rate_per_worker,
        "efficiency": efficiency(one, base_of(found, one)),
        "p50_seconds": one.p50,
        "p95_seconds": one.p95,
        **{f"share_{phase}": one.shares[phase] for phase in PHASES},
        "loss_bytes": one.loss_bytes,
        "gradient_bytes": one.gradient_bytes,
        "spilled_bytes": one.spilled,
    }

"""Computing the figures of a table from the measurements of every worker in every step."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.pretrain.clock import PHASES

Row = Mapping[str, float]  # one worker in one step: step, rank, patches, seconds by phase, bytes


@dataclass(frozen=True)
class Setting:
    """One setting that is measured.

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
    """The figures of a setting in the measured steps.

    Attributes:
        setting: the measured setting.
        rates: patches per second of all workers, for each run.
        p50, p95: seconds of a step, which are those of its slowest worker.
        seconds: mean seconds of a worker's step, by phase.
        loss_bytes, gradient_bytes: median bytes that each worker sends to a step's collectives.
        spilled: bytes that the object stores wrote to disk meanwhile; None if they are not known.
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
        """The share of each phase in a worker's time; the shares add up to 1."""
        whole = sum(self.seconds.values())
        return {phase: seconds / whole for phase, seconds in self.seconds.items()}

    @property
    def rate(self) -> float:
        """Patches per second of all workers, the median over runs."""
        return statistics.median(self.rates)

    @property
    def rate_per_worker(self) -> float:
        """Patches per second and worker, the median over runs."""
        return self.rate / self.setting.workers


def figures(setting: Setting, rows: Sequence[Row], counted: range, spilled: float | None) -> Figures:
    """Return the figures of a setting.

    Args:
        rows: a row for each worker and step, of one run or several; `run` is the run's number, and each run counts its
            steps from 0.
        counted: the measured steps.
        spilled: see `Figures`.
    """
    kept = [row for row in rows if row["step"] in counted]
    assert kept, "no step that counts"
    runs: dict[float, list[Row]] = {row.get("run", 0): [] for row in kept}
    for row in kept:
        runs[row.get("run", 0)].append(row)
    # A step ends when its slowest worker does.
    steps = [step for run in runs.values() for step in _slowest(run, "step")]
    return Figures(
        setting=setting,
        rates=tuple(sum(row["patches"] for row in run) / _seconds(setting, run) for _, run in sorted(runs.items())),
        p50=statistics.median(steps),
        p95=float(np.percentile(steps, 95)),
        seconds={phase: statistics.mean(row[phase] for row in kept) for phase in PHASES},
        # The median, since in steps that are logged the workers also exchange features, to monitor collapse.
        loss_bytes=statistics.median_high(row.get("loss_bytes", 0) for row in kept),
        gradient_bytes=statistics.median_high(row.get("gradient_bytes", 0) for row in kept),
        spilled=spilled,
    )


def _seconds(setting: Setting, run: Sequence[Row]) -> float:
    """Return the seconds of a run's steps.

    Without training no worker waits for another, so that only the slowest worker's total counts.
    """
    return sum(_slowest(run, "step")) if setting.work == "training" else max(_slowest(_totals(run), "rank"))


def _slowest(rows: Sequence[Row], key: str) -> list[float]:
    """Return the longest of the workers' times for each value of the key."""
    times: dict[float, list[float]] = {}
    for row in rows:
        times.setdefault(row[key], []).append(sum(row[phase] for phase in PHASES))
    return [max(seconds) for seconds in times.values()]


def _totals(run: Sequence[Row]) -> list[dict[str, float]]:
    """Return each worker's phases, summed over all steps of a run."""
    totals: dict[float, dict[str, float]] = {}
    for row in run:
        total = totals.setdefault(row["rank"], {"rank": row["rank"], **dict.fromkeys(PHASES, 0.0)})
        for phase in PHASES:
            total[phase] += row[phase]
    return list(totals.values())


def efficiency(one: Figures, base: Figures) -> float:
    """Return a worker's rate relative to a worker's rate in `base`: the median of the rounds' ratios."""
    ratios = [rate / base_rate for rate, base_rate in zip(one.rates, base.rates, strict=True)]
    return statistics.median(ratios) * base.setting.workers / one.setting.workers


def base_of(measured: Sequence[Figures], one: Figures) -> Figures:
    """Return the figures that `one` is compared with: its work and mode with the smallest number of workers."""
    kind = (one.setting.work, one.setting.mode)
    same = [other for other in measured if (other.setting.work, other.setting.mode) == kind]
    return min(same, key=lambda other: other.setting.workers)


def as_row(one: Figures, measured: Sequence[Figures]) -> dict[str, Any]:
    """Return a flat row for the summary and MLflow; `measured` holds all figures."""
    setting = one.setting
    return {
        "work": setting.work,
        "mode": setting.mode,
        "workers": setting.workers,
        "batch_size": setting.batch_size,
        "patches_per_second": one.rate,
        "patches_per_second_per_worker": one.rate_per_worker,
        "efficiency": efficiency(one, base_of(measured, one)),
        "p50_seconds": one.p50,
        "p95_seconds": one.p95,
        **{f"share_{phase}": one.shares[phase] for phase in PHASES},
        "loss_bytes": one.loss_bytes,
        "gradient_bytes": one.gradient_bytes,
        "spilled_bytes": one.spilled,
    }

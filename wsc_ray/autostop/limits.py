"""When a cluster is taken down without anybody asking: from options in minutes, hours and dollars to seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsc_ray.errors import ClusterError

NEVER = "never"
IDLE = 10 * 60.0  # s without a job
FAILED = 30 * 60.0  # s after a job that failed, to look at what it left on the machines
FIRST = 120.0  # s for a client to send its job: a busy machine or a slow line takes more than a short `idle`
_MOST = 10 * 365 * 24 * 3600.0  # s; anything above is a slip of the keyboard


@dataclass(frozen=True)
class Limits:
    """Seconds after which a cluster is taken down.

    Attributes:
        idle: without a job; None for never, after a job that failed too.
        failed: without a job after one that failed.
        longest: since the cluster was brought up, whatever runs; None for no limit.
        first: that a client has at least to send a job, whatever `idle` says.
    """

    idle: float | None = IDLE
    failed: float = FAILED
    longest: float | None = None
    first: float = FIRST

    def __str__(self) -> str:
        parts = []
        if self.idle is not None:
            parts.append(
                f"when no job has run for {duration(self.idle)} ({duration(self.failed)} after one that failed)"
            )
        if self.longest is not None:
            parts.append(f"after {duration(self.longest)}, whatever runs")
        return ", or ".join(parts) or NEVER


def limits_of(
    *,
    autostop: str | float | None = None,
    keep_failed: float | None = None,
    max_hours: float | None = None,
    max_cost: float | None = None,
    dollars_an_hour: float | None = None,
) -> Limits:
    """The limits that a command's options ask for.

    Args:
        autostop: minutes, or "never".
        keep_failed: minutes.
        max_cost: dollars, from which hours follow.
        dollars_an_hour: of the most machines there can be; None where a price is not known.

    Raises:
        ClusterError: a number that is none, negative or too large, or a cost where no price is known.
    """
    idle: float | None = IDLE
    if autostop is not None:
        idle = None if str(autostop).strip().lower() == NEVER else _seconds("--autostop", autostop, 60, f", or {NEVER}")
    failed = FAILED if keep_failed is None else _seconds("--keep-failed", keep_failed, 60)
    hours = [] if max_hours is None else [_seconds("--max-hours", max_hours, 3600)]
    if max_cost is not None:
        if dollars_an_hour is None:
            raise ClusterError(
                "--max-cost: what the cluster costs an hour is not known, since the list of prices lacks a machine of its file; "
                "give --max-hours instead"
            )
        if dollars_an_hour > 0:
            hours.append(_seconds("--max-cost", max_cost, 3600 / dollars_an_hour))
    return Limits(idle, failed, min(hours, default=None))


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    for name, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.4g} {name}"
    return f"{seconds:.4g} seconds"


def _seconds(option: str, given: str | float, unit: float, otherwise: str = "") -> float:
    try:
        seconds = float(given) * unit
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MOST:
        raise ClusterError(f"{option} {str(given)[:40]}: give a number above 0{otherwise}")
    return seconds

"""The limits after which the watch takes a cluster down: options in minutes, hours and dollars, converted to seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsc_ray.errors import ClusterError

NEVER = "never"
IDLE = 10 * 60.0  # s without a job
FAILED = 30 * 60.0  # s after a job that failed, so that somebody can look at the machines
FIRST = 120.0  # s for a client to send its job: a busy machine or a slow connection can take longer than a short `idle`
_MOST = 10 * 365 * 24 * 3600.0  # s; anything above is a typing error


@dataclass(frozen=True)
class Limits:
    """The times, in seconds, after which a cluster is taken down.

    Attributes:
        idle: time without a job; None for never, after a failed job neither.
        failed: time without a job after a failed one.
        longest: time since the cluster was brought up, even while a job runs; None for no limit.
        first: the least time that a client has to send its first job, also if `idle` is shorter.
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
    """Return the limits for a command's options.

    Args:
        autostop: minutes, or "never".
        keep_failed: minutes.
        max_hours: hours.
        max_cost: dollars; converted to hours at `dollars_an_hour`.
        dollars_an_hour: price of the cluster's largest number of machines; None if a price is not known.

    Raises:
        ClusterError: a value is not a number, not above 0 or too large, or `max_cost` is given but a price is not known.
    """
    idle: float | None = IDLE
    if autostop is not None:
        idle = None if str(autostop).strip().lower() == NEVER else _seconds("--autostop", autostop, 60, f", or {NEVER}")
    failed = FAILED if keep_failed is None else _seconds("--keep-failed", keep_failed, 60)
    hours = [] if max_hours is None else [_seconds("--max-hours", max_hours, 3600)]
    if max_cost is not None:
        if dollars_an_hour is None:
            raise ClusterError(
                "--max-cost: the price of the cluster is not known, since the list of prices lacks a machine of its file; "
                "give --max-hours instead"
            )
        if dollars_an_hour > 0:
            hours.append(_seconds("--max-cost", max_cost, 3600 / dollars_an_hour))
    return Limits(idle, failed, min(hours, default=None))


def duration(seconds: float) -> str:
    """Return a time in seconds as text, in hours, minutes or seconds."""
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

"""The decision whether to take a cluster down now: a pure function of its limits, its jobs and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsc_ray.autostop.limits import Limits, duration

RUNNING = ("PENDING", "RUNNING")


@dataclass(frozen=True)
class SeenJob:
    """A job as the cluster's dashboard lists it; times in seconds since 1970.

    Attributes:
        id: the id by which it can be stopped; None for a program that connected to Ray without being submitted.
        command, out: the command and its output folder; "" for a job that is not of wsc-ray.
    """

    id: str | None
    status: str
    started: float
    ended: float | None
    exit_status: int | None = None
    command: str = ""
    out: str = ""

    @property
    def running(self) -> bool:
        return self.status in RUNNING


def verdict(
    limits: Limits, *, now: float, began: float, since: float, busy: float, jobs: Sequence[SeenJob]
) -> str | None:
    """Return a sentence why the cluster is to be taken down now; None if it stays up. All times are in seconds since 1970.

    Args:
        now: the current time.
        began: when a client last gave orders, so that it is about to send a job.
        since: the start of the time that `limits.longest` limits.
        busy: when a job was last seen running; not before `began`.
        jobs: the jobs as they were last seen.
    """
    if limits.longest is not None and now - since >= limits.longest:
        return f"the cluster was taken down after {duration(limits.longest)} (--max-hours or --max-cost)"
    if any(job.running for job in jobs):
        return None
    ended = max((job for job in jobs if job.ended is not None), key=lambda job: job.ended or 0, default=None)
    idle_since = max(began, busy, (ended.ended or 0) if ended else 0)
    failed = ended is not None and ended.status == "FAILED" and (ended.ended or 0) >= began
    limit = limits.failed if failed else limits.idle
    if limits.idle is None or limit is None:
        return None
    if not any(job.started >= began for job in jobs):
        limit = max(limit, limits.first)
    if now - idle_since < limit:
        return None
    if failed and ended:
        return f"no job had run for {duration(limit)} since {ended.id or 'the last one'} failed (--keep-failed)"
    return f"no job had run for {duration(limit)} (--autostop)"

"""`python -m wsc_ray.autostop.watch`, on the head: take the cluster down when the limits in its orders are reached.

On machines with SSH the watch ends when Ray on the head has ended. In a cloud it goes on without Ray: machines cost money whether
Ray runs on them or not.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence

import psutil

from wsc_ray.autostop import dashboard, orders
from wsc_ray.autostop.end import check_able, cluster_of_head, end
from wsc_ray.autostop.orders import Orders
from wsc_ray.autostop.verdict import SeenJob, verdict

_PAUSE = (0.5, 5.0)  # s between two looks at the jobs, at least and at most
_GRACE = 20.0  # s for stopped jobs to end, so that a client that follows one still sees its end
_STARTING = 60.0  # s for Ray to appear after the watch has started


def main() -> int:
    """Watch the cluster until it is down, or Ray has ended; return the exit status, 0 also if another watch runs already."""
    file = cluster_of_head()
    check_able(file)  # before the lock: clients take a held lock for a working watch
    lock = orders.only_watch()
    if lock is None:
        return 0
    watch = _Watch()
    say(f"watching {file.name} ({file.provider}): {orders.read().limits}")
    while (reason := watch.look()) is None:
        if file.provider == "local" and watch.ray_is_gone():
            say("Ray has ended here")
            return 0
        time.sleep(watch.pause())
    say(reason)
    watch.end_jobs(reason)
    end(file, say)
    say("down")
    return 0


class _Watch:
    """The state of the watch between two looks at the jobs."""

    def __init__(self) -> None:
        self.orders = orders.read()
        self.busy = self.orders.given
        self.jobs: list[SeenJob] = []
        self.recorded: dict[str, str] = {}
        self.began = time.monotonic()
        self.seen_ray = False

    def look(self) -> str | None:
        """Read the orders and the jobs; return why the cluster is to be taken down, None if it stays up."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self.orders = orders.read()  # if the file was deleted or damaged, the last orders hold
        now = time.time()
        # If the dashboard does not answer, no job can be running: the time without a job goes on.
        self.jobs = dashboard.jobs() or [job for job in self.jobs if not job.running]
        if any(job.running for job in self.jobs):
            self.busy = now
        self.record(self.jobs)
        held = self.orders
        return verdict(held.limits, now=now, began=held.given, since=held.since, busy=self.busy, jobs=self.jobs)

    def pause(self) -> float:
        limits = self.orders.limits
        shortest = min((limit for limit in (limits.idle, limits.longest) if limit is not None), default=_PAUSE[1] * 10)
        return min(max(shortest / 10, _PAUSE[0]), _PAUSE[1])

    def ray_is_gone(self) -> bool:
        names = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.uids().real == os.getuid():
                    names.add(process.name())
        running = "gcs_server" in names
        self.seen_ray = self.seen_ray or running
        return not running and (self.seen_ray or time.monotonic() - self.began > _STARTING)

    def end_jobs(self, reason: str) -> None:
        """Stop the running jobs, wait until they have ended, and record `reason` for them."""
        ended = {job.id for job in self.jobs if job.running and job.id}
        for job_id in ended:
            dashboard.stop(job_id)
        deadline = time.monotonic() + _GRACE
        while ended and time.monotonic() < deadline:
            self.jobs = dashboard.jobs() or self.jobs
            if not any(job.running for job in self.jobs):
                break
            time.sleep(0.5)
        self.record(self.jobs, {job_id: reason for job_id in ended})

    def record(self, jobs: Sequence[SeenJob], reasons: dict[str, str] | None = None) -> None:
        """Write the records of jobs of wsc-ray whose state is new. A failure is printed, and does not keep the cluster up."""
        for job in jobs:
            reason = (reasons or {}).get(job.id or "")
            state = f"{job.status} {reason}"
            if not job.id or not job.command or self.recorded.get(job.id) == state:
                continue
            try:
                _write(self.orders, job, reason)
            except Exception as error:  # storage libraries raise errors of any type
                say(f"no record of {job.id}: {error}")
            self.recorded[job.id] = state


def _write(orders: Orders, job: SeenJob, reason: str | None) -> None:
    from wsc_ray.autostop.records import (  # imports pyarrow: only when there is something to write
        note_in_run,
        record_of,
        write_record,
    )

    record = record_of(job, cluster=orders.cluster, dollars_an_hour=orders.dollars_an_hour, ended_by=reason)
    if orders.storage:
        write_record(orders.storage, record)
    if reason:
        note_in_run(record)


def say(text: str) -> None:
    """Write a line to the watch's log. On a full disk it is lost, since the cluster must be taken down all the same."""
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

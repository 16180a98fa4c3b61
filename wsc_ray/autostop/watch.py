"""`python -m wsc_ray.autostop.watch`, on the head: take the cluster down when its orders say so.

On machines with SSH the watch ends with the Ray that it watches. In a cloud it goes on without one: machines cost money
whether Ray runs on them or not.
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

_PAUSE = (0.5, 5.0)  # s between two looks, at least and at most
_GRACE = 20.0  # s for jobs to end that are asked to; a client that follows one sees how it ended
_STARTING = 60.0  # s for Ray to be seen at first


def main() -> int:
    """The exit status: 0 where the cluster is down or another watch has it."""
    file = cluster_of_head()
    check_able(file)  # before the lock, by which a client sees that a watch runs
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
    """What is remembered from one look to the next."""

    def __init__(self) -> None:
        self.orders = orders.read()
        self.busy = self.orders.given
        self.jobs: list[SeenJob] = []
        self.recorded: dict[str, str] = {}
        self.began = time.monotonic()
        self.seen_ray = False

    def look(self) -> str | None:
        """Why the cluster is to be taken down; None while it is not."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self.orders = orders.read()  # where they have been deleted, the last ones hold
        now = time.time()
        # A dashboard that does not answer runs no job that anybody could reach: the time without a job goes on.
        self.jobs = dashboard.jobs() or [job for job in self.jobs if not job.running]
        if any(job.running for job in self.jobs):
            self.busy = now
        self.record(self.jobs)
        given = self.orders
        return verdict(given.limits, now=now, began=given.given, since=given.since, busy=self.busy, jobs=self.jobs)

    def pause(self) -> float:
        limits = self.orders.limits
        shortest = min((each for each in (limits.idle, limits.longest) if each is not None), default=_PAUSE[1] * 10)
        return min(max(shortest / 10, _PAUSE[0]), _PAUSE[1])

    def ray_is_gone(self) -> bool:
        names = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.uids().real == os.getuid():
                    names.add(process.name())
        here = "gcs_server" in names
        self.seen_ray = self.seen_ray or here
        return not here and (self.seen_ray or time.monotonic() - self.began > _STARTING)

    def end_jobs(self, reason: str) -> None:
        """Ask the jobs that run to end, wait for it, and write down why."""
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
        """Write down what is new of our jobs. A record that cannot be written keeps no cluster up."""
        for job in jobs:
            reason = (reasons or {}).get(job.id or "")
            state = f"{job.status} {reason}"
            if not job.id or not job.command or self.recorded.get(job.id) == state:
                continue
            try:
                _write(self.orders, job, reason)
            except Exception as error:  # a store raises what it likes
                say(f"no record of {job.id}: {error}")
            self.recorded[job.id] = state


def _write(given: Orders, job: SeenJob, reason: str | None) -> None:
    from wsc_ray.autostop.records import (  # pyarrow: when there is something to write
        note_in_run,
        record_of,
        write_record,
    )

    record = record_of(job, cluster=given.cluster, dollars_an_hour=given.dollars_an_hour, ended_by=reason)
    if given.storage:
        write_record(given.storage, record)
    if reason:
        note_in_run(record)


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Following a job: its log as it is written, through dropped connections, and how it ended.

The log is read from its beginning each time, so that what was shown before a connection dropped is left out by its
length. A connection that says nothing is not a dropped one: after some seconds the job's status is asked for.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from ray.job_submission import JobStatus

from wsc_ray.errors import ClusterError, JobError
from wsc_ray.submit.jobs import Job, Jobs, come_back

TRIES = 8  # in a row without a character of the log
LONGEST_PAUSE = 30.0  # seconds between two tries
SILENCE = 20.0  # seconds of no log after which the job's status is asked for
DROPPED = (OSError, RuntimeError, aiohttp.ClientError, ClusterError)


def follow(jobs: Jobs, job_id: str, *, write: Callable[[str], Any] = sys.stdout.write) -> Job:
    """Write the job's log as it grows, until the job has ended well.

    Raises:
        JobError: the job failed or was stopped, the cluster no longer answers, or the user pressed Ctrl-C; where the
            job may still be running, the sentence says how to come back.
    """
    shown = Shown(write)
    try:
        return ended(_until_ended(jobs, job_id, shown), jobs.option)
    except KeyboardInterrupt:
        raise JobError(f"job {job_id} goes on; come back with: {come_back(job_id, jobs)}", exit_status=130) from None


def ended(job: Job, option: str) -> Job:
    """The job, if it ended well.

    Args:
        option: with which a command comes back to its cluster.

    Raises:
        JobError: it did not.
    """
    if job.status == JobStatus.SUCCEEDED:
        return job
    logs = f"its log: wsc-ray job logs {job.id} {option}"
    if job.status == JobStatus.STOPPED:
        raise JobError(f"job {job.id} was stopped; type its command again to go on, {logs}")
    if job.exit_status is None:
        reason = " ".join(job.message.split())[:500]
        raise JobError(f"job {job.id} failed before its command had started or ended: {reason}")
    number = job.exit_status if job.exit_status > 0 else 128 - job.exit_status  # a signal, as a shell counts it
    raise JobError(f"job {job.id} failed with exit status {number}; {logs}", exit_status=number)


class Shown:
    """Writes a text that is given anew from its beginning, each part once."""

    def __init__(self, write: Callable[[str], Any]):
        self.write, self.length, self.position = write, 0, 0

    def begin(self) -> None:
        self.position = 0

    def add(self, text: str) -> None:
        new = text[max(0, self.length - self.position) :]
        self.position += len(text)
        if new:
            self.length = self.position
            self.write(new)
            sys.stdout.flush()


def _until_ended(jobs: Jobs, job_id: str, shown: Shown) -> Job:
    tries = 0
    while True:
        before = shown.length
        try:
            shown.begin()
            asyncio.run(_tail(jobs, job_id, shown))
            job = jobs.look(job_id)
            if not job.running:
                return job
            reason = "closed by the cluster"
        except DROPPED as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        tries = 1 if shown.length > before else tries + 1
        if tries > TRIES:
            raise JobError(
                f"{jobs.address} no longer answers ({reason}); job {job_id} may well go on: {come_back(job_id, jobs)}"
            )
        pause = min(2.0 ** (tries - 1), LONGEST_PAUSE)
        print(f"connection to {jobs.address} dropped ({reason}); again in {pause:g} s", file=sys.stderr, flush=True)
        time.sleep(pause)


async def _tail(jobs: Jobs, job_id: str, shown: Shown) -> None:
    """Until the cluster closes the log, or the job has ended and there is no more of it."""
    parts = jobs.client.tail_job_logs(job_id)
    waiting: asyncio.Future[str | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(parts, None))
            done, _ = await asyncio.wait({waiting}, timeout=SILENCE)
            if done:
                text = waiting.result()
                waiting = None
                if text is None:
                    return
                shown.add(text)
            elif not (await asyncio.to_thread(jobs.look, job_id)).running:
                return
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await parts.aclose()  # type: ignore[attr-defined]  # a generator, which Ray calls an iterator

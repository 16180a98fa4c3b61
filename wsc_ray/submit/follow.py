"""Following a job: printing its log as it is written, reconnecting when a connection drops, and the job's end.

Each connection sends the log from its beginning; the part that was printed before is skipped by its length. A connection that
sends nothing need not have dropped: after some seconds the job's status is asked for.
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

TRIES = 8  # connections in a row that send no new text of the log
LONGEST_PAUSE = 30.0  # seconds between two tries
SILENCE = 20.0  # seconds without new text after which the job's status is asked for
DROPPED = (OSError, RuntimeError, aiohttp.ClientError, ClusterError)


def follow(jobs: Jobs, job_id: str, *, write: Callable[[str], Any] = sys.stdout.write) -> Job:
    """Write the job's log as it grows until the job ends, and return the job.

    Raises:
        JobError: the job failed or was stopped, the cluster no longer answers, or the user pressed Ctrl-C; if the job may
            still be running, the message names the command that follows it again.
    """
    shown = Shown(write)
    try:
        return ended(_until_ended(jobs, job_id, shown), jobs.option)
    except KeyboardInterrupt:
        raise JobError(f"job {job_id} goes on; come back with: {come_back(job_id, jobs)}", exit_status=130) from None


def ended(job: Job, option: str) -> Job:
    """Return the job if it succeeded.

    Args:
        option: the command-line option that names the job's cluster, for the message.

    Raises:
        JobError: the job failed or was stopped.
    """
    if job.status == JobStatus.SUCCEEDED:
        return job
    logs = f"its log: wsc-ray job logs {job.id} {option}"
    if job.status == JobStatus.STOPPED:
        raise JobError(f"job {job.id} was stopped; type its command again to go on, {logs}")
    if job.exit_status is None:
        reason = " ".join(job.message.split())[:500]
        raise JobError(f"job {job.id} failed before its command had started or ended: {reason}")
    # For a signal, 128 + its number, as in a shell.
    number = job.exit_status if job.exit_status > 0 else 128 - job.exit_status
    raise JobError(f"job {job.id} failed with exit status {number}; {logs}", exit_status=number)


class Shown:
    """Writes each part of a growing text once, although each connection sends the text from its beginning."""

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
                _show_rest(jobs, job_id, shown)
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


def _show_rest(jobs: Jobs, job_id: str, shown: Shown) -> None:
    """Write what the connection did not send of an ended job's log: it can close, or be slow, just before the last lines."""
    try:
        text = jobs.log(job_id)
    except DROPPED as error:
        print(f"the end of the log may be missing: {error}", file=sys.stderr, flush=True)
    else:
        shown.begin()
        shown.add(text)


async def _tail(jobs: Jobs, job_id: str, shown: Shown) -> None:
    """Write the log until the cluster closes it, or the job has ended and no more text comes."""
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
        await parts.aclose()  # type: ignore[attr-defined]  # an async generator, which Ray's types call an iterator

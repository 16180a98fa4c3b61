"""Commands on jobs that were submitted before: attach, status, stop, logs."""

from __future__ import annotations

import time
from typing import Any

from wsc_ray.remote.bring_up import Down, jobs_of
from wsc_ray.submit.jobs import Job
from wsc_ray.submit.send import follow_job


def attach(
    *, job: str | None = None, address: str | None = None, cluster: str | None = None, down: Down = "on-success"
) -> dict[str, Any]:
    """Print a job's log from its beginning until the job ends.

    Args:
        job: the job's id; by default the latest job of wsc-ray.
        address: the cluster's dashboard; by default RAY_API_SERVER_ADDRESS or RAY_ADDRESS.
        cluster: instead of an address, the cluster's file, or the Slurm script of the job.
        down: when to take the file's cluster down afterwards.

    Returns:
        The job, as a row of `status`.

    Raises:
        ClusterError: the cluster or the job does not exist.
        JobError: the job failed, was stopped or is no longer followed; the error's `exit_status` is the job's.
    """
    with jobs_of(address, cluster, down) as jobs:
        return _row(follow_job(jobs, jobs.find(job).id))


def status(*, job: str | None = None, address: str | None = None, cluster: str | None = None) -> list[dict[str, Any]]:
    """Return a row for each job of wsc-ray on a cluster, or for the one with that id, the latest last.

    Arguments and errors as `attach`.
    """
    with jobs_of(address, cluster) as jobs:
        return [_row(found) for found in ([jobs.find(job)] if job else jobs.all())]


def stop(*, job: str | None = None, address: str | None = None, cluster: str | None = None) -> dict[str, Any]:
    """Stop a job and wait until it has ended; return its row; arguments and errors as `attach`."""
    with jobs_of(address, cluster) as jobs:
        found = jobs.find(job)
        if found.running:
            jobs.stop(found.id)
        while found.running:
            time.sleep(0.5)
            found = jobs.look(found.id)
        return _row(found)


def logs(*, job: str | None = None, address: str | None = None, cluster: str | None = None) -> str:
    """Return a job's log so far; arguments and errors as `attach`."""
    with jobs_of(address, cluster) as jobs:
        return jobs.log(jobs.find(job).id)


def as_table(rows: list[dict[str, Any]]) -> str:
    """Format rows of `status` as a table to print."""
    if not rows:
        return "no jobs of wsc-ray"
    names = ("job", "status", "exit_status", "started", "seconds", "out")
    cells = [list(names), *([str(row[name]) if row[name] is not None else "-" for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(f"{cell:<{n}}" for cell, n in zip(row, widths, strict=True)).rstrip() for row in cells)


def _row(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "command": job.command,
        "out": job.out,
        "status": str(job.status.value).lower(),
        "exit_status": job.exit_status,
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started)),
        "seconds": round((job.ended or time.time()) - job.started),
    }

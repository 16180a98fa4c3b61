"""`wsc-ray job attach`."""

from __future__ import annotations

from typing import Any

from wsc_ray.command import Down, command
from wsc_ray.commands.job_status import AtAddress, JobId, OfFile


@command("job attach")
def job_attach(
    *, job: JobId = None, address: AtAddress = None, cluster: OfFile = None, down: Down = "on-success"
) -> dict[str, Any]:
    """Print a job's log until the job ends, and exit with its status.

    Without JOB, the latest job of wsc-ray is followed. Ctrl-C leaves the job running.

    Returns:
        The job, as a row of `job_status`.

    Raises:
        ClusterError: the cluster or the job does not exist.
        JobError: the job failed, was stopped or is no longer followed; the error's `exit_status` is the job's.
    """
    from wsc_ray.remote.job import attach

    return attach(job=job, address=address, cluster=cluster, down=down)

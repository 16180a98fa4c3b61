"""`wsc-ray job attach`."""

from __future__ import annotations

from typing import Any

from wsc_ray.command import Down, command
from wsc_ray.commands.job_status import AtAddress, JobId, OfFile


@command("job attach")
def job_attach(
    *, job: JobId = None, address: AtAddress = None, cluster: OfFile = None, down: Down = "on-success"
) -> dict[str, Any]:
    """Follow a job to its end, and end as it does.

    Without JOB it is our latest. Ctrl-C leaves it running.

    Returns:
        The job, as one of `job_status`.

    Raises:
        ClusterError: no such cluster or job.
        JobError: the job did not end well, or is no longer followed; its `exit_status` is the job's.
    """
    from wsc_ray.remote.job import attach

    return attach(job=job, address=address, cluster=cluster, down=down)

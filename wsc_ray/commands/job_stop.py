"""`wsc-ray job stop`."""

from __future__ import annotations

from typing import Any

from wsc_ray.command import command
from wsc_ray.commands.job_status import AtAddress, JobId, OfFile


@command("job stop")
def job_stop(*, job: JobId = None, address: AtAddress = None, cluster: OfFile = None) -> dict[str, Any]:
    """Stop a job, and wait until it has ended.

    Without JOB, the latest job of wsc-ray is stopped. Type its command again to go on where it stopped.

    Raises:
        ClusterError: the cluster or the job does not exist.
    """
    from wsc_ray.remote.job import stop

    return stop(job=job, address=address, cluster=cluster)

"""`wsc-ray job logs`."""

from __future__ import annotations

from typing import Any

from wsc_ray.command import command
from wsc_ray.commands.job_status import AtAddress, JobId, OfFile


def _describe(text: Any, dry_run: bool) -> str:
    return str(text).removesuffix("\n")


@command("job logs", describe=_describe)
def job_logs(*, job: JobId = None, address: AtAddress = None, cluster: OfFile = None) -> str:
    """Print what a job has logged so far.

    Without JOB it is our latest.

    Raises:
        ClusterError: no such cluster or job.
    """
    from wsc_ray.remote.job import logs

    return logs(job=job, address=address, cluster=cluster)

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

    Without JOB, the log is that of the latest job of wsc-ray.

    Raises:
        ClusterError: the cluster or the job does not exist.
    """
    from wsc_ray.remote.job import logs

    return logs(job=job, address=address, cluster=cluster)

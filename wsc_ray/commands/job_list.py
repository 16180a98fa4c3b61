"""`wsc-ray job list`."""

from __future__ import annotations

from typing import Annotated, Any

from wsc_ray.command import Option, command
from wsc_ray.commands.job_status import JobId


def _describe(rows: Any, dry_run: bool) -> str:
    from wsc_ray.remote.past_jobs import as_table

    return as_table(rows)


@command("job list", describe=_describe, reads="`STORAGE/jobs`", json=True)
def job_list(
    *,
    job: JobId = None,
    cluster: Annotated[str, Option("File of the cluster; the cluster need not be up.", metavar="FILE")],
) -> list[dict[str, Any]]:
    """List past jobs of a cluster file, with duration and cost.

    The jobs are read from the records that the watch on the cluster's head wrote to the file's storage. The cost is the on-demand
    list price of the cluster's smallest number of machines, for the time that the job ran.

    Returns:
        One row per job, the latest last.

    Raises:
        ClusterError: the file names no storage, this machine cannot see it, or the job does not exist.
    """
    from wsc_ray.remote.past_jobs import past_jobs

    return past_jobs(cluster, job)

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
    cluster: Annotated[str, Option("File of the cluster, which need not be up.", metavar="FILE")],
) -> list[dict[str, Any]]:
    """List past jobs of a cluster's file, with duration and cost.

    They are what the watch on the cluster's head has written down under the file's storage. The cost is the list price on demand of
    the fewest machines while the job ran.

    Returns:
        A row a job, the latest last.

    Raises:
        ClusterError: no storage that is seen from here, or no such job.
    """
    from wsc_ray.remote.past_jobs import past_jobs

    return past_jobs(cluster, job)

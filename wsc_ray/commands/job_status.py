"""`wsc-ray job status`, and the arguments of all `job` commands."""

from __future__ import annotations

from typing import Annotated, Any

from wsc_ray.command import Option, command

JobId = Annotated[str | None, Option(metavar="JOB", argument=True)]
AtAddress = Annotated[
    str | None,
    Option("Dashboard of the cluster.  [default: what RAY_API_SERVER_ADDRESS or RAY_ADDRESS name]", metavar="URL"),
]
OfFile = Annotated[
    str | None,
    Option("File of the cluster, which is up, or the script of Slurm's jobs, instead of an address.", metavar="FILE"),
]


def _describe(rows: Any, dry_run: bool) -> str:
    from wsc_ray.remote.job import as_table

    return as_table(rows)


@command("job status", describe=_describe)
def job_status(*, job: JobId = None, address: AtAddress = None, cluster: OfFile = None) -> list[dict[str, Any]]:
    """List our jobs on a cluster, or one of them.

    Raises:
        ClusterError: no such cluster or job.
    """
    from wsc_ray.remote.job import status

    return status(job=job, address=address, cluster=cluster)

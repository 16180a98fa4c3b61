"""`wsc-ray job status`, and the arguments that the `job` commands share."""

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
    Option("Instead of --address: the file of a cluster that is up, or the Slurm script.", metavar="FILE"),
]


def _describe(rows: Any, dry_run: bool) -> str:
    from wsc_ray.remote.job import as_table

    return as_table(rows)


@command("job status", describe=_describe)
def job_status(*, job: JobId = None, address: AtAddress = None, cluster: OfFile = None) -> list[dict[str, Any]]:
    """List the jobs of wsc-ray on a cluster, or one of them.

    Returns:
        One row per job, the latest last.

    Raises:
        ClusterError: the cluster or the job does not exist.
    """
    from wsc_ray.remote.job import status

    return status(job=job, address=address, cluster=cluster)

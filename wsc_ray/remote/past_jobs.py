"""Past jobs of clusters that may be down, from the records that the watches wrote to the storage of a cluster file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from wsc_ray.autostop.limits import duration
from wsc_ray.autostop.records import Record, read_records
from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import read_cluster_file
from wsc_ray.run_folder import step_of
from wsc_ray.storage import as_path, check_store
from wsc_ray.submit.slurm import is_slurm_script


def past_jobs(cluster: str, job: str | None = None) -> list[dict[str, Any]]:
    """Return the jobs recorded in a cluster file's storage, the latest last.

    Args:
        job: only jobs with this id; there may be several, since each new cluster counts its jobs from 1.

    Returns:
        One row per job; `dollars` is the on-demand price of the cluster's smallest number of machines for the job's time, None
        if a price is not known.

    Raises:
        ClusterError: the file names no storage, this machine cannot see its folder, or the job does not exist.
        RunFolderError: the bucket cannot be read.
    """
    if is_slurm_script(cluster):
        raise ClusterError(f"`wsc-ray job status --cluster {cluster}` lists Slurm's jobs, those that are past too")
    file = read_cluster_file(cluster)
    if file.storage is None:
        raise ClusterError(
            f"--cluster {file.path}: names no storage, so that no jobs are recorded; `wsc-ray job status` lists those of a cluster "
            "that is up"
        )
    place = as_path(file.storage)
    if isinstance(place, Path) and not place.is_dir():
        raise ClusterError(
            f"{place}, the storage of {file.path}, does not exist on this machine; type the command on a machine that has it"
        )
    check_store(place)
    rows = [_row(record) for record in read_records(file.storage) if job in (None, record.job)]
    if job and not rows:
        raise ClusterError(
            f"{place} has no record of job {job}; `wsc-ray job list --cluster {cluster}` lists what there is"
        )
    return rows


def as_table(rows: list[dict[str, Any]]) -> str:
    """Format rows of `past_jobs` as a table to print."""
    if not rows:
        return "no jobs are recorded"
    names = ("job", "status", "step", "started", "took", "dollars", "out")
    cells = [list(names), *([_cell(row, name) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:<{n}}" for cell, n in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*lines, *(f"{row['job']}: {row['ended_by']}" for row in rows if row["ended_by"])])


def _cell(row: dict[str, Any], name: str) -> str:
    if name == "took":
        return duration(row["seconds"])
    if name == "dollars":
        return "not known" if row["dollars"] is None else f"{row['dollars']:.2f}"
    return "-" if row[name] is None else str(row[name])


def _step(record: Record) -> str | None:
    """Return the step at which an incomplete `wsc-ray run` is; None for other jobs."""
    if record.command != "run":
        return None
    try:
        return step_of(record.out)
    except (OSError, ValueError, KeyError):  # of another machine, or damaged: the list goes on
        return None


def _row(record: Record) -> dict[str, Any]:
    ended = record.ended is not None
    return {
        "job": record.job,
        "command": record.command,
        "out": record.out,
        "status": record.status if ended else f"{record.status} when last seen",
        "step": _step(record),
        "exit_status": record.exit_status,
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started)),
        "seconds": round(record.seconds),
        "dollars": None if record.dollars is None else round(record.dollars, 2),
        "cluster": record.cluster,
        "ended_by": record.ended_by,
    }

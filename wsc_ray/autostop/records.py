"""What stays of a cluster's jobs once the cluster is gone: a file a job in the storage that its cluster file names.

The cluster itself forgets its jobs when it is taken down, and whoever typed the command may have left long before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wsc_ray.autostop.verdict import SeenJob
from wsc_ray.files import read_json, write_json
from wsc_ray.storage import as_path

FOLDER = "jobs"
WHERE = "cluster.json"  # beside a command's summary


@dataclass(frozen=True)
class Record:
    """A job that a watch has seen; times in seconds since 1970.

    Attributes:
        dollars_an_hour: of the cluster's fewest machines on demand; 0 for machines that cost nothing here, None where
            a price is not known.
        ended_by: why the watch ended it, as a sentence; None where it ended by itself.
    """

    job: str
    command: str
    out: str
    status: str
    exit_status: int | None
    started: float
    ended: float | None
    cluster: str
    dollars_an_hour: float | None
    ended_by: str | None = None

    @property
    def seconds(self) -> float:
        return max(0.0, (self.ended or time.time()) - self.started)

    @property
    def dollars(self) -> float | None:
        """What the cluster cost while the job ran."""
        return None if self.dollars_an_hour is None else self.seconds / 3600 * self.dollars_an_hour


def record_of(job: SeenJob, *, cluster: str, dollars_an_hour: float | None, ended_by: str | None = None) -> Record:
    """The record of one of our jobs."""
    return Record(
        job=job.id or "",
        command=job.command,
        out=job.out,
        status=job.status.lower(),
        exit_status=job.exit_status,
        started=job.started,
        ended=job.ended,
        cluster=cluster,
        dollars_an_hour=dollars_an_hour,
        ended_by=ended_by,
    )


def write_record(storage: str, record: Record) -> None:
    """Write a job's record, over an earlier one of the same job."""
    folder = as_path(storage) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _name(record), asdict(record))


def read_records(storage: str) -> list[Record]:
    """All records, the latest last; what is no record is left out."""
    folder = as_path(storage) / FOLDER
    found = []
    for path in folder.glob("*.json") if folder.exists() else ():
        try:
            found.append(Record(**read_json(path)))
        except (TypeError, json.JSONDecodeError):
            continue
    return sorted(found, key=lambda record: (record.started, record.job))


def note_in_run(record: Record) -> None:
    """Say in `cluster.json` of the job's folder that a watch has ended it.

    Where the command had not begun to write, nothing is written.
    """
    folder = as_path(record.out)
    if not record.out or not folder.exists():
        return
    path = folder / WHERE
    jobs: list[Mapping[str, Any]] = read_json(path)["jobs"] if path.exists() else []
    own = {"job": record.job, "started": round(record.started, 3), "ended": round(record.ended or time.time(), 3)}
    known = next((job for job in jobs if job.get("job") == record.job), own)
    others = [job for job in jobs if job is not known]
    write_json(path, {"jobs": [*others, {**known, "ended_by": record.ended_by}]})


def _name(record: Record) -> str:
    # A cluster that is brought up again counts its jobs from 1.
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(record.started))}-{record.job}.json"

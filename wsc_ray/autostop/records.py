"""The records of a cluster's jobs, which remain after the cluster is down: one file per job, in the cluster file's storage.

The cluster itself loses its list of jobs when it is taken down, and the client that sent a job may have left before the job ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wsc_ray.autostop.verdict import SeenJob
from wsc_ray.files import read_json, write_json
from wsc_ray.storage import as_path

FOLDER = "jobs"
WHERE = "cluster.json"  # beside a command's summary
_LATEST = 2.0**40  # s since 1970, in some 35,000 years; such a time can still be printed


@dataclass(frozen=True)
class Record:
    """A job that a watch saw; times in seconds since 1970.

    Attributes:
        dollars_an_hour: on-demand price of the cluster's smallest number of machines; 0 for machines that cost nothing, None if
            a price is not known.
        ended_by: why the watch ended the job, as a sentence; None for a job that ended by itself.
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
        """The cluster's price for the time that the job ran; None if it is not known."""
        return None if self.dollars_an_hour is None else self.seconds / 3600 * self.dollars_an_hour


_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("job", "command", "out", "status", "cluster"), str),
    "started": float | int,
    "exit_status": int | None,
    "ended_by": str | None,
    **dict.fromkeys(("ended", "dollars_an_hour"), float | int | None),
}


def record_of(job: SeenJob, *, cluster: str, dollars_an_hour: float | None, ended_by: str | None = None) -> Record:
    """Return the record of a job of wsc-ray."""
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
    """Write a job's record; it replaces an earlier record of the same job."""
    folder = as_path(storage) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _name(record), asdict(record))


def read_records(storage: str) -> list[Record]:
    """Return all records, the latest last; files that hold no record, or a damaged one, are skipped."""
    folder = as_path(storage) / FOLDER
    records = []
    for path in folder.glob("*.json") if folder.exists() else ():
        try:
            records.append(_record(read_json(path)))
        except (IsADirectoryError, FileNotFoundError, TypeError, ValueError):
            continue
    return sorted(records, key=lambda record: (record.started, record.job))


def _record(values: Mapping[str, Any]) -> Record:
    """Return the record with these values.

    Raises:
        TypeError: they are not a record's: another program's file, or a value of another type.
    """
    record = Record(**values)
    for name, kind in _KINDS.items():
        value = getattr(record, name)
        wrong = not isinstance(value, kind) or isinstance(value, bool)
        if wrong or (isinstance(value, float | int) and not abs(value) < _LATEST):
            raise TypeError(f"{name} is {value!r}")
    return record


def note_in_run(record: Record) -> None:
    """Write to `cluster.json` in the job's output folder that the watch ended the job.

    Nothing is written if the output folder does not exist yet.
    """
    folder = as_path(record.out)
    if not record.out or not folder.exists():
        return
    path = folder / WHERE
    jobs: list[Mapping[str, Any]] = read_json(path)["jobs"] if path.exists() else []
    new = {"job": record.job, "started": round(record.started, 3), "ended": round(record.ended or time.time(), 3)}
    entry = next((job for job in jobs if job.get("job") == record.job), new)
    others = [job for job in jobs if job is not entry]
    write_json(path, {"jobs": [*others, {**entry, "ended_by": record.ended_by}]})


def _name(record: Record) -> str:
    # The time makes the name unique: each new cluster counts its jobs from 1.
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(record.started))}-{record.job}.json"

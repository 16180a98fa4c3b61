"""Ray Jobs: submitting a call to a cluster that is up, and finding it again.

The cluster itself remembers which jobs are ours and what they work on, in their metadata, so that any machine can come
back to them. An id follows from the command and its output folder and counts the attempts: of two people who submit
the same at the same moment, one is told that the id is taken.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import wsc_ray
from wsc_ray.errors import ClusterError
from wsc_ray.plain_yaml import shortened
from wsc_ray.submit.call import CALL, RECIPE, Call
from wsc_ray.uris import shown

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
JOB_ID = "WSC_RAY_JOB"  # a job's own id, in its environment
CLUSTER = "cluster.yaml"  # in a job's folder
WAITING = (JobStatus.PENDING, JobStatus.RUNNING)


@dataclass(frozen=True)
class Job:
    """One of our jobs as the cluster knows it; times in seconds since 1970."""

    id: str
    command: str
    out: str
    digest: str
    status: JobStatus
    exit_status: int | None
    message: str
    started: float
    ended: float | None

    @property
    def running(self) -> bool:
        return self.status in WAITING


class Jobs:
    """The jobs of the cluster whose dashboard is at `address`, such as `http://127.0.0.1:8265`.

    Args:
        option: with which a command line comes back to this cluster; by default `--address` and the address.
        token: the cluster's; by default what Ray finds by RAY_AUTH_MODE, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH.

    Raises:
        ClusterError: nothing answers there, or it wants a token.
    """

    def __init__(self, address: str | None = None, *, option: str | None = None, token: str | None = None):
        self.address = _http_address(address)
        self.option = option or f"--address {self.address}"
        parts = urlsplit(self.address)
        try:  # Ray's client would wait for minutes where nothing answers
            socket.create_connection((parts.hostname, parts.port or _port(parts.scheme)), timeout=10).close()
        except OSError as error:
            raise ClusterError(
                f"no cluster at {self.address}: {error.strerror or error}; is it up, and its port forwarded to this machine?"
            ) from None
        for name in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)  # uploads and closed connections are nothing to a user
        with _without_variables(), self._said():
            headers = {"Authorization": f"Bearer {token}"} if token else None
            self.client = JobSubmissionClient(self.address, headers=headers)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """A refusal of the cluster's as a sentence."""
        try:
            yield
        except ray.exceptions.AuthenticationError:
            raise ClusterError(
                f"{self.address} wants another token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) to what "
                "`ray get-auth-token` prints on the head"
            ) from None
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, ClusterError):
                raise
            raise ClusterError(f"{self.address} does not answer as a Ray dashboard: {_first_line(error)}") from None

    def all(self) -> list[Job]:
        """Our jobs, the latest last."""
        with self._said():
            details = self.client.list_jobs()
        jobs = [
            _job(one.submission_id, one) for one in details if one.submission_id and "wsc_ray" in (one.metadata or {})
        ]
        return sorted(jobs, key=lambda job: (job.started, job.id))

    def running(self) -> list[str]:
        """What runs on the cluster, whoever started it and however, by its id."""
        with self._said():
            details = self.client.list_jobs()
        return [str(one.submission_id or one.job_id) for one in details if one.status in WAITING]

    def find(self, job_id: str | None = None) -> Job:
        """The job of that id, or our latest.

        Raises:
            ClusterError: there is none.
        """
        jobs = [job for job in self.all() if job_id in (None, job.id)]
        if not jobs:
            name = f"job {job_id}" if job_id else "job of wsc-ray"
            raise ClusterError(f"{self.address} has no {name}; `wsc-ray job status` lists what there is")
        return jobs[-1]

    def look(self, job_id: str) -> Job:
        with self._said():
            return _job(job_id, self.client.get_job_info(job_id))

    def attempts(self, call: Call) -> list[Job]:
        """Jobs of the same command on the same output folder, the latest last."""
        return [job for job in self.all() if job.id.rpartition("-")[0] == call.stem]

    def next_id(self, call: Call) -> str:
        numbers = [int(job.id.rpartition("-")[2]) for job in self.attempts(call)]
        return f"{call.stem}-{max(numbers, default=0) + 1}"

    def submit(self, call: Call) -> str:
        """Send the entry point, the recipe and this package, and start the job; its id.

        Raises:
            ClusterError: the cluster refuses it, such as for an id that someone else has just taken.
        """
        job_id = self.next_id(call)
        with tempfile.TemporaryDirectory(prefix="wsc-ray-job-") as temporary, self._said():
            try:
                return self.client.submit_job(
                    entrypoint=entrypoint(call),
                    submission_id=job_id,
                    runtime_env={
                        "working_dir": working_dir(Path(temporary), call),
                        "py_modules": [str(Path(wsc_ray.__file__).parent)],
                        "excludes": ["__pycache__"],
                        "env_vars": {**call.environment, JOB_ID: job_id},
                    },
                    metadata={"wsc_ray": call.command, "out": call.out, "digest": call.digest},
                )
            except RuntimeError as error:
                raise ClusterError(f"{self.address} refuses the job: {_first_line(error)}") from None

    def stop(self, job_id: str) -> bool:
        """Whether it was running."""
        with self._said():
            return self.client.stop_job(job_id)

    def log(self, job_id: str) -> str:
        with self._said():
            return self.client.get_job_logs(job_id)


def entrypoint(call: Call) -> str:
    """The job's command line; `python` is the one on the PATH of whoever started Ray on the head."""
    return shlex.join(["python", f"jobs/{entry_file(call.command).name}"])


def entry_file(command: str) -> Path:
    """The script that is submitted, in the installed package or in `jobs/` of a checkout; `plugin.py` for a plug-in's command."""
    package = Path(wsc_ray.__file__).parent
    folder = next(each for each in (package / "jobs", package.parent / "jobs") if (each / "plugin.py").is_file())
    own = folder / f"{command.replace(' ', '_')}.py"
    return own if own.is_file() else folder / "plugin.py"


def come_back(job_id: str, jobs: Jobs) -> str:
    """What to type to follow the job again."""
    return f"wsc-ray job attach {job_id} {jobs.option}"


def working_dir(folder: Path, call: Call) -> str:
    """Fill a job's folder with its entry point, `call.json`, the recipe and carried files; its path."""
    (folder / "jobs").mkdir()
    shutil.copy(entry_file(call.command), folder / "jobs")
    (folder / CALL).write_text(json.dumps({**json.loads(call.to_json()), "nodes": call.nodes}))
    if call.recipe:
        (folder / RECIPE).write_text(call.recipe.to_yaml())
    for name, text in call.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    if call.cluster:
        (folder / CLUSTER).write_text(call.cluster)
    return str(folder)


def _job(job_id: str, details: JobDetails) -> Job:
    metadata = details.metadata or {}
    return Job(
        id=job_id,
        command=metadata.get("wsc_ray", ""),
        out=metadata.get("out", ""),
        digest=metadata.get("digest", ""),
        status=details.status,
        exit_status=details.driver_exit_code,
        message=details.message or "",
        started=(details.start_time or 0) / 1000,
        ended=details.end_time / 1000 if details.end_time else None,
    )


def _http_address(address: str | None) -> str:
    given = address or next((os.environ[name] for name in ADDRESSES if os.environ.get(name)), None)
    if given is None:
        raise ClusterError("which cluster? give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS")
    try:
        parts = urlsplit(given)
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True) and not parts.password
    except ValueError:  # a port that is no number, or a bracket that does not close
        right = False
    if not right:
        raise ClusterError(
            f"--address: write it as http://HEAD:8265, the head's dashboard, not {shortened(shown(given).rpartition('@')[2])}"
        )
    return given.rstrip("/")


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


@contextlib.contextmanager
def _without_variables() -> Iterator[None]:
    """Ray's client takes these over the address that it is given; here the option is what counts."""
    kept = {name: os.environ.pop(name) for name in ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

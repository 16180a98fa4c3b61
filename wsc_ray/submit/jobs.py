"""Ray Jobs: submitting a call to a cluster that is up, and finding its job again.

The metadata of a job on the cluster say that it is one of wsc-ray and what its output folder is, so that any machine can find it
again. A job's id is made from the command, its output folder and the number of the attempt: if two people submit the same call at
the same moment, Ray refuses the second, since the id exists.
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
JOB_ID = "WSC_RAY_JOB"  # environment variable with the job's own id
CLUSTER = "cluster.yaml"  # the cluster file, in a job's folder
WAITING = (JobStatus.PENDING, JobStatus.RUNNING)


@dataclass(frozen=True)
class Job:
    """A job of wsc-ray; times in seconds since 1970."""

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
        option: the command-line option that names this cluster, for messages; by default `--address` and the address.
        token: the cluster's token; by default the one that Ray finds by RAY_AUTH_MODE, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH.

    Raises:
        ClusterError: nothing answers at the address, or the cluster needs another token.
    """

    def __init__(self, address: str | None = None, *, option: str | None = None, token: str | None = None):
        self.address = _http_address(address)
        self.option = option or f"--address {self.address}"
        parts = urlsplit(self.address)
        try:  # where nothing answers, Ray's client would wait for minutes
            socket.create_connection((parts.hostname, parts.port or _port(parts.scheme)), timeout=10).close()
        except OSError as error:
            raise ClusterError(
                f"no cluster at {self.address}: {error.strerror or error}; is it up, and its port forwarded to this machine?"
            ) from None
        for name in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            # Its lines on uploads and closed connections do not help a user.
            logging.getLogger(name).setLevel(logging.WARNING)
        with _without_variables(), self._as_sentences():
            headers = {"Authorization": f"Bearer {token}"} if token else None
            self.client = JobSubmissionClient(self.address, headers=headers)

    @contextlib.contextmanager
    def _as_sentences(self) -> Iterator[None]:
        """Turn errors of Ray's client into a `ClusterError`."""
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
        """Return the jobs of wsc-ray, the latest last."""
        with self._as_sentences():
            details = self.client.list_jobs()
        jobs = [
            _job(job.submission_id, job) for job in details if job.submission_id and "wsc_ray" in (job.metadata or {})
        ]
        return sorted(jobs, key=lambda job: (job.started, job.id))

    def running(self) -> list[str]:
        """Return the ids of everything that runs on the cluster, jobs of other users and programs included."""
        with self._as_sentences():
            details = self.client.list_jobs()
        return [str(job.submission_id or job.job_id) for job in details if job.status in WAITING]

    def find(self, job_id: str | None = None) -> Job:
        """Return the job with that id, or the latest job of wsc-ray.

        Raises:
            ClusterError: there is no such job.
        """
        jobs = [job for job in self.all() if job_id in (None, job.id)]
        if not jobs:
            name = f"job {job_id}" if job_id else "job of wsc-ray"
            raise ClusterError(f"{self.address} has no {name}; `wsc-ray job status` lists what there is")
        return jobs[-1]

    def look(self, job_id: str) -> Job:
        with self._as_sentences():
            return _job(job_id, self.client.get_job_info(job_id))

    def attempts(self, call: Call) -> list[Job]:
        """Return the jobs of the same command on the same output folder, the latest last."""
        return [job for job in self.all() if job.id.rpartition("-")[0] == call.stem]

    def next_id(self, call: Call) -> str:
        numbers = [int(job.id.rpartition("-")[2]) for job in self.attempts(call)]
        return f"{call.stem}-{max(numbers, default=0) + 1}"

    def submit(self, call: Call) -> str:
        """Send the entry point, the recipe and this package, start the job, and return its id.

        Raises:
            ClusterError: the cluster refuses the job, for example because another user has just submitted the same call.
        """
        job_id = self.next_id(call)
        with tempfile.TemporaryDirectory(prefix="wsc-ray-job-") as temporary, self._as_sentences():
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
        """Ask the cluster to stop the job; return whether the job was running."""
        with self._as_sentences():
            return self.client.stop_job(job_id)

    def log(self, job_id: str) -> str:
        with self._as_sentences():
            return self.client.get_job_logs(job_id)


def entrypoint(call: Call) -> str:
    """Return the job's command line; `python` is found on the PATH of the user who started Ray on the head."""
    return shlex.join(["python", f"jobs/{entry_file(call.command).name}"])


def entry_file(command: str) -> Path:
    """Return the path of the script to submit, in the installed package or in `jobs/` of a checkout.

    The commands of plug-ins share `plugin.py`.
    """
    package = Path(wsc_ray.__file__).parent
    folders = (package / "jobs", package.parent / "jobs")
    folder = next(folder for folder in folders if (folder / "plugin.py").is_file())
    own = folder / f"{command.replace(' ', '_')}.py"
    return own if own.is_file() else folder / "plugin.py"


def come_back(job_id: str, jobs: Jobs) -> str:
    """Return the command that follows the job again."""
    return f"wsc-ray job attach {job_id} {jobs.option}"


def working_dir(folder: Path, call: Call) -> str:
    """Write the entry point, `call.json`, the recipe and the sent files to a job's folder, and return its path."""
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
    chosen = address or next((os.environ[name] for name in ADDRESSES if os.environ.get(name)), None)
    if chosen is None:
        raise ClusterError("which cluster? give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS")
    try:
        parts = urlsplit(chosen)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True) and not parts.password
    except ValueError:  # a port that is no number, or an unclosed bracket
        valid = False
    if not valid:
        raise ClusterError(
            f"--address: write it as http://HEAD:8265, the head's dashboard, not {shortened(shown(chosen).rpartition('@')[2])}"
        )
    return chosen.rstrip("/")


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


@contextlib.contextmanager
def _without_variables() -> Iterator[None]:
    """Hide the variables that Ray's client prefers to the address that it is given."""
    kept = {name: os.environ.pop(name) for name in ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

"""A call as a Slurm job: submitting it with `sbatch` and a script such as `cluster/slurm.sh`, and finding the job again.

Each attempt has a folder in the user's home, which the nodes share. It holds the files that a job on a Ray cluster gets in its
working folder, the job's log, and the script's exit status once the script has ended. https://slurm.schedmd.com/sbatch.html
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.job_submission import JobStatus

from wsc_ray.errors import ClusterError, JobError
from wsc_ray.files import read_json, write_json
from wsc_ray.places import local_path
from wsc_ray.submit.call import Call
from wsc_ray.submit.follow import Shown, ended
from wsc_ray.submit.jobs import Job, entry_file, working_dir

FOLDER = "~/.wsc-ray/slurm"
VARIABLES = ("WSC_RAY_CALL", "WSC_RAY_ENTRY", "WSC_RAY_JOB")  # the script's environment: see `cluster/slurm.sh`
_INFO, _LOG, _EXIT, _STOPPED = "slurm.json", "log", "exit", "stopped"
_FACTS = {"slurm": str, "script": str, "started": float | int, "command": str, "out": str, "digest": str}
_TIDY = "delete its folder, if `squeue --me` shows that no job of yours runs there"
# "Job state codes" of https://slurm.schedmd.com/squeue.html; a job in any other state holds machines, as SUSPENDED and SIGNALING do.
_ENDED = frozenset(
    ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"]
    + ["TIMEOUT"]
)
_WAITING = frozenset(
    ["PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"]
)
_PAUSE = 2.0  # s between two queries of the job's state
_WRITTEN = 20.0  # s until a written exit status appears on every machine of a shared file system
_LOST = 600.0  # s without an answer from Slurm after which a job is no longer followed


def is_slurm_script(path: str | Path) -> bool:
    """Return whether the file of `--cluster` is a script for `sbatch`, and not the description of a cluster."""
    try:
        with local_path(path).open(encoding="utf-8") as file:
            return file.readline().startswith("#!") and "#SBATCH" in file.read()
    except (OSError, UnicodeDecodeError):
        return False


class SlurmJobs:
    """The jobs that this user submitted with a Slurm script.

    Raises:
        ClusterError: this machine lacks Slurm's commands.
    """

    def __init__(self, script: str | Path):
        self.script = local_path(script)
        self.option = f"--cluster {self.script}"
        self.address = f"Slurm, by {self.script}"
        self.folder = local_path(FOLDER)
        missing = [tool for tool in ("sbatch", "squeue", "scancel") if shutil.which(tool) is None]
        if missing:
            raise ClusterError(
                f"{self.option}: this machine has no {', '.join(missing)}; type the command on a login node of the Slurm cluster"
            )

    def all(self) -> list[Job]:
        """Return the jobs of this script, the latest last."""
        infos = sorted(self.folder.glob(f"*/{_INFO}")) if self.folder.is_dir() else []
        jobs = [self._job(path.parent) for path in infos if self._info(path.parent)["script"] == str(self.script)]
        return sorted(jobs, key=lambda job: (job.started, job.id))

    def find(self, job_id: str | None = None) -> Job:
        """Return the job with that id, or the latest.

        Raises:
            ClusterError: there is no such job.
        """
        jobs = [job for job in self.all() if job_id in (None, job.id)]
        if not jobs:
            name = f"job {job_id}" if job_id else "job of wsc-ray"
            raise ClusterError(
                f"{self.folder} has no {name} of {self.script}; `wsc-ray job status` lists what there is"
            )
        return jobs[-1]

    def look(self, job_id: str) -> Job:
        return self._job(self.folder / job_id)

    def attempts(self, call: Call) -> list[Job]:
        """Return the jobs of the same command on the same output folder, the latest last."""
        return [job for job in self.all() if job.id.rpartition("-")[0] == call.stem]

    def next_id(self, call: Call) -> str:
        taken = [path.name.rpartition("-") for path in self.folder.glob(f"{call.stem}-*")]
        numbers = [int(number) for stem, _, number in taken if stem == call.stem and number.isdigit()]
        return f"{call.stem}-{max(numbers, default=0) + 1}"

    def submit(self, call: Call) -> str:
        """Write the job's folder, submit the script with `sbatch`, and return the job's id, which is the folder's name.

        Raises:
            ClusterError: Slurm refuses the job, the home cannot be written, or somebody submits the same call at the same moment.
        """
        job_id = self.next_id(call)
        place = self.folder / job_id
        try:
            place.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            raise ClusterError(f"{place} exists already: somebody has just sent the same command") from None
        except OSError as error:
            raise ClusterError(
                f"{place} cannot be made: {error.strerror}; jobs are kept in your home, which the nodes share: set HOME to a folder that you may write"
            ) from None
        working_dir(place, call)
        variables = dict(zip(VARIABLES, (str(place), f"jobs/{entry_file(call.command).name}", job_id), strict=True))
        command = ["sbatch", "--parsable", f"--output={place / _LOG}", str(self.script)]
        done = _ask(command, {**os.environ, **call.environment, **variables})
        # A site's own lines may stand around the number and the name of the cluster.
        number = re.search(r"^(\d+)(;\S*)?$", done.stdout, re.MULTILINE)
        if done.returncode or number is None:
            shutil.rmtree(place)
            raise ClusterError(f"sbatch refuses {self.script}: {' '.join((done.stderr or done.stdout).split())[:300]}")
        about = {"command": call.command, "out": call.out, "digest": call.digest}
        write_json(place / _INFO, {"slurm": number[1], "script": str(self.script), "started": time.time(), **about})
        return job_id

    def stop(self, job_id: str) -> bool:
        """Cancel the job; return whether it was running.

        Raises:
            ClusterError: Slurm refuses to cancel the job.
        """
        running = self.look(job_id).running
        if running:
            (self.folder / job_id / _STOPPED).touch()
            done = _ask(["scancel", self._info(self.folder / job_id)["slurm"]])
            if done.returncode:
                raise ClusterError(f"scancel refuses: {' '.join(done.stderr.split())[:300]}")
        return running

    def log(self, job_id: str) -> str:
        path = self.folder / job_id / _LOG
        return path.read_text(errors="replace") if path.exists() else ""

    def follow(self, job_id: str, *, write: Callable[[str], Any] = sys.stdout.write) -> Job:
        """Write the job's log as it grows until the job ends, and return the job.

        Raises:
            JobError: the job failed or was stopped, Slurm no longer answers, or the user pressed Ctrl-C.
        """
        shown = Shown(write)
        back = f"wsc-ray job attach {job_id} {self.option}"
        try:
            job = next(job for job in self._looks(job_id, shown, back) if not job.running)
            return ended(job, self.option)
        except KeyboardInterrupt:
            raise JobError(f"job {job_id} goes on; come back with: {back}", exit_status=130) from None

    def _looks(self, job_id: str, shown: Shown, back: str) -> Iterator[Job]:
        answered = time.monotonic()
        while True:
            try:
                job = self.look(job_id)
                answered = time.monotonic()
            except ClusterError as error:
                if time.monotonic() - answered > _LOST:
                    raise JobError(f"{error}; job {job_id} may well go on: {back}") from None
                time.sleep(_PAUSE)
                continue
            shown.begin()
            shown.add(self.log(job_id))
            yield job
            time.sleep(_PAUSE)

    def _job(self, place: Path) -> Job:
        info = self._info(place)
        status, exit_status = self._status(place, info["slurm"])
        ended_at = (place / _EXIT).stat().st_mtime if exit_status is not None else None
        return Job(
            id=place.name,
            command=info["command"],
            out=info["out"],
            digest=info["digest"],
            status=status,
            exit_status=exit_status,
            message=f"Slurm's job {info['slurm']} ended without an exit status: cancelled, over its time limit, or a node failed",
            started=info["started"],
            ended=ended_at,
        )

    def _status(self, place: Path, number: str) -> tuple[JobStatus, int | None]:
        if (alive := _alive(number)) is not None:
            return alive, None
        deadline = time.monotonic() + _WRITTEN
        stopped = (place / _STOPPED).exists()
        while not stopped and not (place / _EXIT).exists() and self._fresh(place) and time.monotonic() < deadline:
            time.sleep(0.2)
        written = (place / _EXIT).read_text(errors="replace").strip() if (place / _EXIT).exists() else ""
        code = int(written) if re.fullmatch(r"\d{1,3}", written) else None
        if stopped:
            return JobStatus.STOPPED, code
        return JobStatus.SUCCEEDED if code == 0 else JobStatus.FAILED, code

    @staticmethod
    def _fresh(place: Path) -> bool:
        """Return whether a file in the job's folder changed lately, so that an exit status may still appear."""
        return time.time() - max(path.stat().st_mtime for path in place.iterdir()) < 2 * _WRITTEN

    @staticmethod
    def _info(place: Path) -> dict[str, Any]:
        path = place / _INFO
        try:
            info = read_json(path)
        except OSError:
            raise ClusterError(f"{place} holds no job") from None
        except ValueError as error:
            raise ClusterError(f"{path} cannot be read: {error}; {_TIDY}") from None
        wrong = [name for name, kind in _FACTS.items() if not isinstance(info.get(name), kind)]
        if wrong:
            raise ClusterError(f"{path} lacks {', '.join(wrong)}; {_TIDY}")
        return info


def _alive(number: str) -> JobStatus | None:
    """Return the status of a job that is in Slurm's queue; None for one that has ended.

    Raises:
        ClusterError: Slurm does not answer.
    """
    done = _ask(["squeue", "--noheader", f"--jobs={number}", "--format=%T"])
    if done.returncode and "Invalid job id" not in done.stderr:  # squeue's answer for a job that ended some minutes ago
        raise ClusterError(f"squeue does not answer: {' '.join(done.stderr.split())[:300]}")
    state = next(iter(done.stdout.split()), None)
    if state is None or state in _ENDED:
        return None
    return JobStatus.PENDING if state in _WAITING else JobStatus.RUNNING


def _ask(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, env=environment
    )

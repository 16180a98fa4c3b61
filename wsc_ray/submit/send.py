"""Sending a call to a cluster that is up, and following its job.

While a call's job runs, sending the same call follows that job instead of submitting another. After the job has ended, sending
the call submits the next attempt, which goes on where the last one stopped (or returns the summary if everything is done).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wsc_ray.errors import ClusterError, JobError
from wsc_ray.submit.call import Call

if TYPE_CHECKING:
    from wsc_ray.preflight.check_result import CheckResult
    from wsc_ray.submit.jobs import Job, Jobs  # imports Ray, which a command that runs here may not need yet
    from wsc_ray.submit.slurm import SlurmJobs


def send(call: Call, address: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Submit the call, unless its job runs already, and follow the job to its end.

    Args:
        dry_run: ask the cluster for its jobs, return the steps, and submit nothing.

    Returns:
        The job's id, where it ran and how long; for a dry run the steps and the resources.

    Raises:
        ClusterError: the cluster does not answer or refuses the job, or a job with another recipe works on the same folder.
        JobError: the job failed, was stopped or is no longer followed.
    """
    from wsc_ray.submit.jobs import Jobs

    return send_to(Jobs(address), call, dry_run=dry_run)


def send_to(jobs: Jobs | SlurmJobs, call: Call, *, dry_run: bool = False) -> dict[str, Any]:
    """As `send`, to a cluster that is connected already, or to Slurm."""
    running = next((job for job in jobs.attempts(call) if job.running), None)
    if running and running.digest != call.digest:
        raise ClusterError(
            f"job {running.id} is at work on {call.out} with another recipe or other options; follow it with `wsc-ray job attach`, "
            "or end it with `wsc-ray job stop` first"
        )
    if dry_run:
        return _plan(call, jobs.address, jobs.next_id(call), running.id if running else None)
    try:
        job_id = running.id if running else jobs.submit(call)
    except KeyboardInterrupt:
        raise JobError(
            f"the job may have been submitted; see: wsc-ray job status {jobs.option}", exit_status=130
        ) from None
    print(f"job {job_id} {'is running already' if running else 'submitted'} at {jobs.address}", flush=True)
    job = follow_job(jobs, job_id)
    return {
        "job": job.id,
        "address": jobs.address,
        "out": call.out,
        "seconds": round((job.ended or job.started) - job.started, 1),
    }


def follow_job(jobs: Jobs | SlurmJobs, job_id: str) -> Job:
    """Follow a job of a cluster or of Slurm to its end; errors as `follow`."""
    from wsc_ray.submit.follow import follow
    from wsc_ray.submit.slurm import SlurmJobs

    return jobs.follow(job_id) if isinstance(jobs, SlurmJobs) else follow(jobs, job_id)


def _plan(call: Call, address: str, job_id: str, running: str | None) -> dict[str, Any]:
    from wsc_ray.submit.jobs import entrypoint

    submits = f"follow job {running}, which is running" if running else f"submit job {job_id}: {entrypoint(call)}"
    return {
        "address": address,
        "out": call.out,
        "steps": numbered([submits, *in_the_job(call)]),
        "resources": dict(call.resources),
        **({"recipe": call.recipe.to_yaml()} if call.recipe else {}),
    }


def in_the_job(call: Call) -> list[str]:
    """Return the steps that follow once the call is submitted, in words."""
    checked = ["every node's versions, GPUs, storage, clock", "MLflow"]
    checked += ["manifest"] if call.checks_manifest else []
    checked += ["all-reduce"] if call.trains else []
    return [
        f"in the job, preflight: {'; '.join(checked)}",
        f"in the job, {call.command}",
        "follow its log here; Ctrl-C leaves it running",
    ]


def numbered(steps: Iterable[str]) -> dict[str, str]:
    return {str(number): step for number, step in enumerate(steps, start=1)}


def send_doctor(call: Call, address: str) -> list[CheckResult]:
    """Run the preflight alone, as a job, and return its results.

    Raises:
        ClusterError, JobError: as `send`.
    """
    from wsc_ray.submit.follow import follow
    from wsc_ray.submit.jobs import Jobs

    jobs = Jobs(address)
    parts: list[str] = []
    job_id = jobs.submit(call)
    try:
        follow(jobs, job_id, write=parts.append)
    except JobError as error:
        last = "".join(parts).strip().splitlines()[-1:]
        raise JobError(f"{error}: {''.join(last)}", exit_status=error.exit_status) from None
    return json.loads("".join(parts).strip().splitlines()[-1])

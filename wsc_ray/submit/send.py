"""What `address` and `cluster` add to a command: the same call, run on a cluster.

A job is submitted once: the same call while it runs follows it, and after it ended submits the next attempt, which
goes on from what the last one left (or, where nothing is left to do, says what was done).
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from wsc_ray.errors import ClusterError, JobError
from wsc_ray.submit.request import Request

if TYPE_CHECKING:
    from wsc_ray.submit.jobs import Jobs  # imports Ray, which a command that runs here may not need yet

OPTIONS = """address: dashboard of a cluster that is up, such as http://127.0.0.1:8265, to run there.
        cluster: a cluster's file, to bring it up and run there.
        down: when to take that cluster down afterwards: always, on-success, or never."""


def with_cluster(here: Callable[..., dict[str, Any]], make: Callable[..., Request]) -> Callable[..., dict[str, Any]]:
    """`here` with further keywords, `address`, `cluster` and `down`, that send the call to a cluster.

    Args:
        make: the request for a call of `here` with the same arguments.
    """

    @functools.wraps(here)
    def function(
        *, address: str | None = None, cluster: str | None = None, down: str = "on-success", **arguments: Any
    ) -> dict[str, Any]:
        if address is None and cluster is None:
            return here(**arguments)
        from wsc_ray.remote.bring_up import bring_up, refuse_both

        refuse_both(address, cluster)
        dry_run = arguments.pop("dry_run", False)
        request = make(**arguments)
        if cluster is not None:
            return bring_up(request, cluster, down=down, dry_run=dry_run)
        return send(request, address, dry_run=dry_run)

    further = inspect.signature(function, follow_wrapped=False).parameters
    added = [further[name] for name in ("address", "cluster", "down")]
    signature = inspect.signature(here)
    function.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])
    function.__doc__ = (here.__doc__ or "").replace("    Returns:", f"        {OPTIONS}\n\n    Returns:", 1)
    return function


def send(request: Request, address: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Submit the request, or find its job that is running already, and follow it to its end.

    Args:
        dry_run: ask the cluster what would be done, and do nothing.

    Returns:
        The job's id, where it ran and how long; of a dry run the steps and the resources.

    Raises:
        ClusterError: the cluster does not answer or refuses, or another recipe is at work on the same folder.
        JobError: the job did not end well, or is no longer followed.
    """
    from wsc_ray.submit.jobs import Jobs

    return send_to(Jobs(address), request, dry_run=dry_run)


def send_to(jobs: Jobs, request: Request, *, dry_run: bool = False) -> dict[str, Any]:
    """`send`, to a cluster that is reached already."""
    from wsc_ray.submit.follow import follow

    running = next((job for job in jobs.attempts(request) if job.running), None)
    if running and running.digest != request.digest:
        raise ClusterError(
            f"job {running.id} is at work on {request.out} with another recipe or other options; follow it with `wsc-ray job attach`, "
            "or end it with `wsc-ray job stop` first"
        )
    if dry_run:
        return _plan(request, jobs.address, jobs.next_id(request), running and running.id)
    try:
        job_id = running.id if running else jobs.submit(request)
    except KeyboardInterrupt:
        raise JobError(f"perhaps submitted: wsc-ray job status {jobs.option} tells", exit_status=130) from None
    print(f"job {job_id} {'is running already' if running else 'submitted'} at {jobs.address}", flush=True)
    job = follow(jobs, job_id)
    return {
        "job": job.id,
        "address": jobs.address,
        "out": request.out,
        "seconds": round((job.ended or job.started) - job.started, 1),
    }


def _plan(request: Request, address: str, job_id: str, running: str | None) -> dict[str, Any]:
    from wsc_ray.submit.jobs import entrypoint

    submits = f"follow job {running}, which is running" if running else f"submit job {job_id}: {entrypoint(request)}"
    return {
        "address": address,
        "out": request.out,
        "steps": numbered([submits, *in_the_job(request)]),
        "resources": resources(request),
    }


def in_the_job(request: Request) -> list[str]:
    """What happens once the request is submitted, in words."""
    looked = ["every node's versions, GPUs, storage, clock", "MLflow"]
    looked += ["manifest"] if request.command not in ("bench", "tile") else []
    looked += ["all-reduce"] if request.command in ("bench", "pretrain") else []
    return [
        f"in the job, preflight: {'; '.join(looked)}",
        f"in the job, {request.command}",
        "follow its log here; Ctrl-C leaves it running",
    ]


def numbered(steps: Iterable[str]) -> dict[str, str]:
    return {str(number): step for number, step in enumerate(steps, start=1)}


def resources(request: Request) -> dict[str, str]:
    """What the job reserves on the cluster, in words."""
    recipe = request.recipe
    if request.command == "bench":
        return {"training workers": "each of --workers in turn, each --cpus-per-worker and, where there are any, 1 GPU"}
    if request.command == "tile":
        return {"tasks": "1 CPU each, on all CPUs of the cluster"}
    if recipe is None:
        return {"recipe": "as the run folder's recipe says"}
    if request.command == "tune":
        return {"trials": f"{recipe.tune.concurrent} at a time, each 1 CPU"}
    if request.command == "embed":
        return {
            "encoders": f"{recipe.embed.workers}, each 1 GPU or, where there is none, CPUs",
            "reading": "the other CPUs",
        }
    train = recipe.train
    workers = f"{train.workers}" if train.min_workers is None else f"{train.min_workers} to {train.workers}"
    gpu = {"cpu": "", "cuda": " and 1 GPU", "auto": " and, where the cluster has any, 1 GPU"}[train.device]
    return {
        "training workers": f"{workers}, each {train.cpus_per_worker:g} CPUs{gpu}",
        "reading": "the other CPUs",
    }


def send_doctor(request: Request, address: str) -> list[dict[str, str]]:
    """Run the preflight alone, as a job, and return its lines.

    Raises:
        ClusterError, JobError: as `send`.
    """
    from wsc_ray.submit.follow import follow
    from wsc_ray.submit.jobs import Jobs

    jobs = Jobs(address)
    parts: list[str] = []
    job_id = jobs.submit(request)
    try:
        follow(jobs, job_id, write=parts.append)
    except JobError as error:
        last = "".join(parts).strip().splitlines()[-1:]
        raise JobError(f"{error}: {''.join(last)}", exit_status=error.exit_status) from None
    return json.loads("".join(parts).strip().splitlines()[-1])

"""Running a command elsewhere: on the cluster at an address, on the cluster of a file, or by Slurm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.declaration import Declaration
from wsc_ray.errors import ClusterError
from wsc_ray.submit.call import make_call


def run_there(declaration: Declaration, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run a command on the cluster that its `address` or `cluster` names.

    Returns:
        The job's id, where it ran and how long; for a dry run the steps and the resources.

    Raises:
        ClusterError: both are given, or as `bring_up` and `send`.
        JobError: the job failed, was stopped or is no longer followed.
        UserError: as `make_call`.
    """
    from wsc_ray.remote.bring_up import bring_up, refuse_both
    from wsc_ray.submit.send import send
    from wsc_ray.submit.slurm import is_slurm_script

    address, file = arguments.get("address"), arguments.get("cluster")
    dry_run = bool(arguments.get("dry_run"))
    refuse_both(address, file)
    if file is None:
        return send(make_call(declaration, arguments), str(address), dry_run=dry_run)
    if is_slurm_script(file):
        return _by_slurm(declaration, arguments, file)
    from wsc_ray.provision.cluster_file import read_cluster_file
    from wsc_ray.remote.money import spending_of

    call = make_call(declaration, arguments, storage=read_cluster_file(file).storage)
    if arguments.get("out") is None and arguments.get("run") is None:
        print(f"results go to {call.out}", flush=True)
    spending = spending_of(arguments)
    return bring_up(call, file, down=arguments.get("down", "on-success"), spending=spending, dry_run=dry_run)


def _by_slurm(declaration: Declaration, arguments: Mapping[str, Any], script: str) -> dict[str, Any]:
    """Run the command as a Slurm job of the script."""
    from wsc_ray.remote.money import spending_of
    from wsc_ray.submit.send import send_to
    from wsc_ray.submit.slurm import SlurmJobs

    if spending_of(arguments).limited:
        raise ClusterError(
            f"--cluster {script}: Slurm ends a job by itself after its `#SBATCH --time`; leave --autostop, --keep-failed, --max-hours and "
            "--max-cost out"
        )
    call = make_call(declaration, arguments)
    if arguments.get("out") is None and arguments.get("run") is None:
        print(f"results go to {call.out}", flush=True)
    return send_to(SlurmJobs(script), call, dry_run=bool(arguments.get("dry_run")))

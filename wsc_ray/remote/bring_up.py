"""`--cluster FILE`: bring a cluster up, run the call as `--address` does, take the cluster down, and warn if it is still up.

A cluster costs money while it is up, so that by default it is taken down after a job that succeeded. It stays up while any job
runs on it: one that is no longer followed, or another user's. If no client takes it down, the watch on its head does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, Protocol, get_args

from wsc_ray.autostop.limits import NEVER, Limits
from wsc_ray.autostop.orders import Orders
from wsc_ray.errors import ClusterError, UserError
from wsc_ray.provision.cluster_file import ClusterFile, read_cluster_file
from wsc_ray.provision.kuberay import KubeRay
from wsc_ray.provision.launcher import Launcher
from wsc_ray.provision.requirements import check_requirements
from wsc_ray.provision.without_secrets import without_secrets
from wsc_ray.remote.money import Spending, agree, on_a_cluster
from wsc_ray.submit.call import Call
from wsc_ray.submit.jobs import Jobs, entrypoint
from wsc_ray.submit.send import in_the_job, numbered, send_to
from wsc_ray.submit.slurm import SlurmJobs, is_slurm_script

Down = Literal["always", "on-success", "never"]


class Cluster(Protocol):
    """The cluster that a file describes, with either tool that can bring it up: Ray's launcher or kubectl."""

    @property
    def file(self) -> ClusterFile: ...
    @property
    def down_command(self) -> str: ...
    def is_up(self) -> bool: ...
    def start(self) -> None: ...
    def token(self) -> str | None: ...
    def reach(self) -> contextlib.AbstractContextManager[str]: ...
    def down(self) -> list[str]: ...


def bring_up(
    call: Call, path: str, *, down: Down = "on-success", spending: Spending | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Run the call on the cluster that the file at `path` describes, and bring the cluster up first if it is down.

    Args:
        down: when to take the cluster down after the job. It stays up while anything runs on it, of any user.
        spending: when the watch takes the cluster down, and whether the cluster may cost money.
        dry_run: check the file and this machine, return the steps, and start nothing.

    Returns:
        As `send`; for a dry run the steps and the resources.

    Raises:
        ClusterError: the file is wrong, this machine lacks a tool or credentials, the cluster does not work, nobody agreed to
            the costs, or parts of the cluster are left after taking it down.
        JobError: as `send`.
    """
    _check_down(down)
    spending = spending or Spending()
    cluster = _cluster(path)
    file = cluster.file
    call = replace(call, nodes=file.nodes, cluster=without_secrets(file))
    money = on_a_cluster(file, spending)
    if dry_run:
        return _plan(call, cluster, down, money.limits, money.text)
    print(f"bringing up {file.name} ({file.provider}), unless it is up", flush=True)
    limits = None
    if not cluster.is_up():
        agree(money, yes=spending.yes)
        _start(cluster, down, money.limits, None if str(money.limits) == NEVER else money.orders)
        limits = money.limits
    elif spending.limited and money.orders:
        _watch(cluster, replace(money.orders, changes=spending.limited))
    with closing(cluster, down, limits), reach(cluster) as jobs:
        return send_to(jobs, call)


@contextlib.contextmanager
def jobs_of(
    address: str | None = None, cluster: str | None = None, down: Down | None = None
) -> Iterator[Jobs | SlurmJobs]:
    """Yield the jobs of a cluster that is up, given by its dashboard's address or its file, or the jobs of a Slurm script.

    Args:
        down: when to take the file's cluster down after the block; None to leave it as it is.

    Raises:
        ClusterError: both are given, or the cluster does not answer.
    """
    if cluster is None:
        yield Jobs(address)
        return
    refuse_both(address, cluster)
    if is_slurm_script(cluster):
        yield SlurmJobs(cluster)
        return
    described = _cluster(cluster)
    if down is not None:
        _check_down(down)
        if not described.is_up():
            raise ClusterError(f"{described.file.name} is not up, as far as this machine can see")
    with closing(described, down) if down else contextlib.nullcontext(), reach(described) as jobs:
        yield jobs


def refuse_both(address: str | None, cluster: str | None) -> None:
    """Check that not both an address and a file are given.

    Raises:
        ClusterError: both are given.
    """
    if address and cluster:
        raise ClusterError("give --address, of a cluster that is up, or --cluster, a file to bring one up; not both")


@contextlib.contextmanager
def reach(cluster: Cluster) -> Iterator[Jobs]:
    """Connect to the cluster during the block, and yield its jobs."""
    with cluster.reach() as address:
        yield Jobs(address, option=f"--cluster {cluster.file.path}", token=cluster.token())


@contextlib.contextmanager
def closing(cluster: Cluster, down: Down, limits: Limits | None = None) -> Iterator[None]:
    """Take the cluster down after the block, or warn that it is still up.

    Args:
        limits: the limits of the watch on its head; None if there is no watch or its limits are not known here.

    Raises:
        ClusterError: parts of the cluster are left.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        wanted = down == "always" or (down == "on-success" and not failed)
        running = _running(cluster) if wanted else []
        if wanted and not running:
            left = _take_down(cluster)
            if left and not failed:
                raise ClusterError(left)
            if left:
                _warn(left)
        elif failed and not running and not _stands(cluster):
            print(f"{cluster.file.name} is down", flush=True)
        else:
            _warn_up(cluster, f", since {running[0]}" if running else "", limits)


def _start(cluster: Cluster, down: Down, limits: Limits | None, orders: Orders | None) -> None:
    """Start the cluster, with a watch on its head.

    If the start fails, machines may run already. They stay up if `down` is "never", or if a watch can be started on their head, so that
    somebody can look at what failed. Otherwise they are taken down. No job can be running on them yet.
    """
    started = False
    try:
        cluster.start()
        started = True
        _watch(cluster, orders)
    except BaseException:  # Ctrl-C too
        if down == "never":
            _warn_up(cluster, ", as far as it came")
        elif down == "on-success" and not started and _watches_itself(cluster, orders):
            _warn_up(cluster, ", as far as it came", limits)
        elif left := _take_down(cluster):
            _warn(left)
        raise


def _watches_itself(cluster: Cluster, orders: Orders | None) -> bool:
    """Start the watch of a cluster whose start failed; return whether it runs."""
    if orders is None or not isinstance(cluster, Launcher):
        return False
    try:
        cluster.watch(orders.to_json())
    except UserError:
        return False
    return True


def _watch(cluster: Cluster, orders: Orders | None) -> None:
    """Start the watch on the head, on clusters of Ray's launcher; KubeRay has none."""
    if orders is not None and isinstance(cluster, Launcher):
        cluster.watch(orders.to_json())


def _take_down(cluster: Cluster) -> str:
    """Take the cluster down; return a sentence about what is left of it, "" for nothing."""
    print(f"taking down {cluster.file.name}", flush=True)
    left = cluster.down()
    return (
        f"{cluster.file.name} is not down: {'; '.join(left)}; end it yourself: {cluster.down_command}" if left else ""
    )


def _stands(cluster: Cluster) -> bool:
    """Return whether the cluster is up, or may be; its own watch may have taken it down."""
    try:
        return cluster.is_up()
    except UserError:
        return True


def _running(cluster: Cluster) -> list[str]:
    """Return what keeps the cluster up: a text for each running job, or that the jobs cannot be listed."""
    try:
        with reach(cluster) as jobs:
            return [f"job {job_id} runs there" for job_id in jobs.running()]
    except UserError as error:
        return [f"its jobs cannot be listed ({error})"]


def _warn_up(cluster: Cluster, why: str, limits: Limits | None = None) -> None:
    by_itself = f"; its head does {limits}" if limits and str(limits) != NEVER else ""
    _warn(
        f"{cluster.file.name} is still up{why}, and costs what its machines cost; `{cluster.down_command}` takes it down"
        f"{by_itself}"
    )


def _warn(sentence: str) -> None:
    print(f"wsc-ray: {sentence}", file=sys.stderr, flush=True)


def _cluster(path: str) -> Cluster:
    file = read_cluster_file(path)
    check_requirements(file)
    return KubeRay(file) if file.kind == "kuberay" else Launcher(file)


def _check_down(down: str) -> None:
    if down not in get_args(Down):
        raise ClusterError(f"--down: one of {', '.join(get_args(Down))}, not {down}")


def _plan(call: Call, cluster: Cluster, down: Down, limits: Limits | None, costs: str | None) -> dict[str, Any]:
    file = cluster.file
    by_itself = [f"on its head: take it down {limits}"] if limits and str(limits) != NEVER else []
    return {
        "cluster": str(file.path),
        "out": call.out,
        "steps": numbered(
            [
                f"bring up {file.name} ({file.provider}), unless it is up, and wait for {file.nodes} nodes",
                *by_itself,
                f"submit a job: {entrypoint(call)}",
                *in_the_job(call),
                {"always": "", "on-success": "if it ended well, ", "never": "do not "}[down] + cluster.down_command,
            ]
        ),
        "resources": dict(call.resources),
        **({"costs": numbered(costs.splitlines())} if costs else {}),
        **({"recipe": call.recipe.to_yaml()} if call.recipe else {}),
    }

"""`--cluster FILE`: bring the cluster up, do what `--address` does, take it down, and say what is still up.

A cluster costs money while it stands, so that the default is to take it down once the job has ended well. It stays
where something runs on it: a job that is no longer followed, or somebody else's. A watch on its head takes it down where
no client does.
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
    """What a file describes, whoever brings it up."""

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
    """Run the call on the cluster that the file at `path` describes, brought up for it where it is not up.

    Args:
        down: when to take it down afterwards. It stays up while anything runs on it, somebody else's too.
        spending: when its head takes it down by itself, and whether it may cost money.
        dry_run: check the file and this machine, say the steps, and start nothing.

    Returns:
        As `send`; of a dry run the steps and the resources.

    Raises:
        ClusterError: the file, this machine's means or the cluster are not fit, nobody has agreed to what it costs, or
            something is left after taking it down.
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
        _start(cluster, down, None if str(money.limits) == NEVER else money.orders)
        limits = money.limits
    elif spending.limited and money.orders:
        _watch(cluster, replace(money.orders, changes=spending.limited))
    with closing(cluster, down, limits), reach(cluster) as jobs:
        return send_to(jobs, call)


@contextlib.contextmanager
def jobs_of(
    address: str | None = None, cluster: str | None = None, down: Down | None = None
) -> Iterator[Jobs | SlurmJobs]:
    """The jobs of a cluster that is up, by the address of its dashboard or by its file, or of a script for Slurm.

    Args:
        down: when to take the file's cluster down after the block; None where that is not asked.

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
    found = _cluster(cluster)
    if down is not None:
        _check_down(down)
        if not found.is_up():
            raise ClusterError(f"{found.file.name} is not up, as far as this machine can see")
    with closing(found, down) if down else contextlib.nullcontext(), reach(found) as jobs:
        yield jobs


def refuse_both(address: str | None, cluster: str | None) -> None:
    """
    Raises:
        ClusterError: an address and a file.
    """
    if address and cluster:
        raise ClusterError("give --address, of a cluster that is up, or --cluster, a file to bring one up; not both")


@contextlib.contextmanager
def reach(cluster: Cluster) -> Iterator[Jobs]:
    """A way to the cluster, for as long as the block, and its jobs."""
    with cluster.reach() as address:
        yield Jobs(address, option=f"--cluster {cluster.file.path}", token=cluster.token())


@contextlib.contextmanager
def closing(cluster: Cluster, down: Down, limits: Limits | None = None) -> Iterator[None]:
    """Take the cluster down after the block, or say that it is up.

    Args:
        limits: of the watch on its head; None where there is none, as far as is known here.

    Raises:
        ClusterError: something is left of it.
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


def _start(cluster: Cluster, down: Down, orders: Orders | None) -> None:
    """Nothing of anybody's runs there yet, so that what a failure leaves may go."""
    try:
        cluster.start()
        _watch(cluster, orders)
    except BaseException:  # Ctrl-C too: machines may have been started by then
        if down != "always":
            _warn_up(cluster, ", as far as it came")
        elif left := _take_down(cluster):
            _warn(left)
        raise


def _watch(cluster: Cluster, orders: Orders | None) -> None:
    """Have its head take the cluster down, where it can."""
    if orders is not None and isinstance(cluster, Launcher):
        cluster.watch(orders.to_json())


def _take_down(cluster: Cluster) -> str:
    """What is left all the same, as a sentence; "" for nothing."""
    print(f"taking down {cluster.file.name}", flush=True)
    left = cluster.down()
    return (
        f"{cluster.file.name} is not down: {'; '.join(left)}; end it yourself: {cluster.down_command}" if left else ""
    )


def _stands(cluster: Cluster) -> bool:
    """Whether it is up, as far as can be seen: its own head may have taken it down."""
    try:
        return cluster.is_up()
    except UserError:
        return True


def _running(cluster: Cluster) -> list[str]:
    """What keeps the cluster up, in words."""
    try:
        with reach(cluster) as jobs:
            return [f"job {one} runs there" for one in jobs.running()]
    except UserError as error:
        return [f"nobody can say what runs there ({error})"]


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

"""Real Ray nodes on this machine, each with its processes pinned to cores of its own, as far as there are enough cores."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from wsc_ray.errors import ResourceError
from wsc_ray.ray_session import quieten, ray_session, set_ray_up

STORE_BYTES = 500_000_000  # size of each node's object store: more than the data that is read ahead


@contextlib.contextmanager
def ray_nodes(count: int, cores: int, *, cpus: int = 1) -> Iterator[None]:
    """Run a Ray session with new nodes on this machine during a block.

    If RAY_ADDRESS names a cluster, that cluster is used instead. The nodes require a token if `bench.token` has set one before Ray
    was imported, as the command line does.

    Args:
        count: number of nodes.
        cores: number of this machine's cores to use; nodes get them in turn, and share cores if there are too few.
        cpus: number of CPUs and cores of each node.
    """
    if os.environ.get("RAY_ADDRESS"):
        with ray_session():
            yield
        return
    set_ray_up()
    usable = sorted(os.sched_getaffinity(0))[:cores]
    cluster = Cluster()
    try:
        for number in range(count):
            own = {usable[(number * cpus + index) % len(usable)] for index in range(cpus)}
            with _on_cores(own):  # a node's processes inherit them
                cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES, include_dashboard=False)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        quieten()
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def refuse_other_ray() -> None:
    """Check that this process can start its own nodes.

    Raises:
        ResourceError: Ray runs in this process already.
    """
    if ray.is_initialized() and not os.environ.get("RAY_ADDRESS"):
        raise ResourceError("Ray runs in this process already, and scaling starts nodes of its own; use a fresh one")


def spilled_bytes() -> float | None:
    """Return the bytes that the nodes' object stores have written to disk since they started; None if Ray does not report it.

    They are read from the output of `ray memory`, which does not mention spilling if there was none.
    """
    command = [str(Path(sys.executable).parent / "ray"), "memory", "--stats-only", "--address"]
    command.append(ray.get_runtime_context().gcs_address)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:  # the machine is busy; the benchmark goes on without this figure
        return None
    if done.returncode or "Plasma memory usage" not in done.stdout:
        return None
    return sum(float(mebibytes) for mebibytes in re.findall(r"Spilled (\d+) MiB", done.stdout)) * 2**20

"""Real Ray nodes on this machine, each a set of processes pinned to cores of its own, as far as there are cores."""

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

STORE_BYTES = 500_000_000  # of each node's object store: more than what is read ahead


@contextlib.contextmanager
def ray_nodes(count: int, cores: int, *, cpus: int = 1) -> Iterator[None]:
    """A Ray session of new nodes on this machine, for the length of a block.

    Where RAY_ADDRESS names a cluster, that one is used as it is. The nodes ask for a token where the process said so
    before it imported Ray, as the command line does: see `bench.token`.

    Args:
        count: nodes.
        cores: cores of this machine, dealt to the nodes in turn; where the nodes want more, some share one.
        cpus: CPUs and cores of each node.
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
    """Make sure that this process can start nodes of its own.

    Raises:
        ResourceError: Ray runs in this process already, and `ray_nodes` would start its own.
    """
    if ray.is_initialized() and not os.environ.get("RAY_ADDRESS"):
        raise ResourceError("Ray runs in this process already, and scaling starts nodes of its own; use a fresh one")


def spilled_bytes() -> float | None:
    """Bytes that the nodes' object stores have written to disk since they began; None where Ray does not say.

    Read from what `ray memory` prints, which does not mention spilling where there was none.
    """
    command = [str(Path(sys.executable).parent / "ray"), "memory", "--stats-only", "--address"]
    command.append(ray.get_runtime_context().gcs_address)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:  # on a busy machine; the figure is one of many
        return None
    if done.returncode or "Plasma memory usage" not in done.stdout:
        return None
    return sum(float(mebibytes) for mebibytes in re.findall(r"Spilled (\d+) MiB", done.stdout)) * 2**20

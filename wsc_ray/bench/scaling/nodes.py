"""Real Ray nodes on this machine, each a set of processes pinned to a core of its own, as far as there are cores."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import ray
from ray.cluster_utils import Cluster

from wsc_ray.cluster.session import quieten, ray_session, set_ray_up
from wsc_ray.errors import ResourceError

STORE_BYTES = 500_000_000  # of each node's object store: more than what is read ahead


@contextlib.contextmanager
def nodes(count: int, cores: int) -> Iterator[None]:
    """A Ray session of `count` nodes with one CPU each, for the length of a block.

    Where RAY_ADDRESS names a cluster, that one is used as it is.

    Args:
        cores: of this machine, dealt to the nodes in turn; with more nodes than cores, some share one.

    Raises:
        ResourceError: Ray runs in this process already.
    """
    if os.environ.get("RAY_ADDRESS"):
        with ray_session():
            yield
        return
    if ray.is_initialized():
        raise ResourceError("Ray runs in this process already, and scaling starts nodes of its own; use a fresh one")
    set_ray_up()
    usable = sorted(os.sched_getaffinity(0))[:cores]
    cluster = Cluster()
    try:
        for number in range(count):
            with _on({usable[number % len(usable)]}):  # a node's processes inherit it
                cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        quieten()
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spilled_bytes() -> float | None:
    """What the nodes' object stores have written to disk since they began; None where nobody says.

    From the metrics that every node offers to Prometheus, `ray_object_store_memory` by `Location`.
    """
    import urllib.request

    total, answered = 0.0, False
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            continue
        answered = answered or any(line.startswith("ray_") for line in lines)
        total += sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith("ray_object_store_memory{") and 'Location="SPILLED"' in line
        )
    return total if answered else None

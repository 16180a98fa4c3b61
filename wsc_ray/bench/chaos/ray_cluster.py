"""A Ray cluster of several nodes on this machine, in a process of its own, whose nodes can be killed.

`python -m wsc_ray.bench.chaos.ray_cluster COUNT CPUS` prints the cluster's address and then reads lines. For each line it kills a node
other than the head, with all its processes, starts another node in its place, and prints the number of nodes. It ends when its standard
input is closed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from wsc_ray.errors import ResourceError

STORE_BYTES = 200_000_000  # size of each node's object store


class NodesHere:
    """A client of that process: it knows the cluster's address and can kill a node."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process
        self.address = self._answer()

    @property
    def pid(self) -> int:
        """Id of the process whose descendants are the nodes."""
        return self._process.pid

    def lose_a_node(self) -> None:
        """Kill a node and start another in its place."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise ResourceError("the Ray nodes of this machine did not start, or have ended")
        return line


@contextmanager
def nodes_here(count: int, *, cpus: int, environment: dict[str, str]) -> Iterator[NodesHere]:
    """Run a cluster of a head without CPUs and `count` nodes during a block."""
    command = [sys.executable, "-m", __name__, str(count), str(cpus)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        yield NodesHere(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _serve(count: int, cpus: int, requests: IO[str]) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})

    def add() -> Any:
        return cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)

    try:
        nodes = [add() for _ in range(count)]
        print(cluster.address, flush=True)
        for _ in requests:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(add())
            print(len(nodes), flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    out = os.dup(1)  # for the answers alone; Ray's output goes to stderr
    os.dup2(2, 1)
    sys.stdout = os.fdopen(out, "w")
    _serve(int(sys.argv[1]), int(sys.argv[2]), sys.stdin)

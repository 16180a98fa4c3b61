"""How many windows are read at a time for a training worker, and on which node: on its own, if that has enough CPUs.

Two decoded views are many times as large as the encoded patch; views that are made on another node cross the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# With fewer free CPUs on its own node than this part of an even share of the cluster's, a worker's readers spread out.
BESIDE = 0.75


@dataclass(frozen=True)
class Readers:
    """`count` windows are read at a time, on the node with the id `node`; None: on any node."""

    count: int = 1
    node: str | None = None


def readers_for(rank: int, nodes: Sequence[str], cpus: Mapping[str, float], cpus_per_worker: float) -> Readers:
    """Return the readers of worker `rank`, from the CPUs that training leaves free.

    Args:
        nodes: the id of each worker's node, by rank.
        cpus: the CPUs of each node, by its id.
        cpus_per_worker: CPUs that training itself takes for each worker.
    """
    workers, node = len(nodes), nodes[rank]
    here = nodes.count(node)
    even = (sum(cpus.values()) - workers * cpus_per_worker) / workers
    own = (cpus[node] - here * cpus_per_worker) / here
    if own >= BESIDE * even:
        return Readers(max(1, int(own)), node)
    return Readers(max(1, int(even)))

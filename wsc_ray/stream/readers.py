"""How many windows a training worker has read at a time, and where: beside it, if its node has CPUs enough.

Two decoded views are many times as large as the file of their patch: read on another node, they cross the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BESIDE = 0.75  # of an even share of the cluster's free CPUs: with fewer on its own node, a worker's readers spread out


@dataclass(frozen=True)
class Readers:
    """`count` windows at a time, on the node with the id `node`; None: on any."""

    count: int = 1
    node: str | None = None


def readers_for(rank: int, places: Sequence[str], cpus: Mapping[str, float], cpus_per_worker: float) -> Readers:
    """The readers of worker `rank`, from the CPUs that training leaves free.

    Args:
        places: of every worker, the id of its node.
        cpus: of every node, by its id.
    """
    workers, node = len(places), places[rank]
    here = places.count(node)
    even = (sum(cpus.values()) - workers * cpus_per_worker) / workers
    own = (cpus[node] - here * cpus_per_worker) / here
    if own >= BESIDE * even:
        return Readers(max(1, int(own)), node)
    return Readers(max(1, int(even)))

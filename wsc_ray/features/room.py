"""How many CPUs an encoder gets: as many as decode for it, and as let all of them find a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsc_ray.errors import ResourceError

MOST_CPUS = 8  # threads of one process that decode; more wait for each other


def cpus_each(nodes: Sequence[Mapping[str, float]], workers: int) -> int:
    """The CPUs of each of `workers` encoders, which have a GPU each where the cluster has any.

    Args:
        nodes: each node's resources, `CPU` and `GPU`.

    Raises:
        ResourceError: they do not find a CPU, and a GPU, each.
    """
    on_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)

    def room(cpus: int) -> int:
        return sum(
            int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) if on_gpu else float("inf"))) for node in nodes
        )

    for cpus in range(MOST_CPUS, 0, -1):
        if room(cpus) >= workers:
            return cpus
    what = "a CPU and a GPU" if on_gpu else "a CPU"
    raise ResourceError(
        f"embed.workers: {workers} encoders do not find {what} each, the cluster has room for {room(1)}; use fewer"
    )

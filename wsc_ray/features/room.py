"""Choose the number of CPUs for each encoder, so that the cluster has room for all encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsc_ray.errors import ResourceError

MOST_CPUS = 8  # more decoding threads in one process would wait for each other


def cpus_each(nodes: Sequence[Mapping[str, float]], workers: int) -> int:
    """Return the number of CPUs for each of `workers` encoders, which also get a GPU each if the cluster has GPUs.

    Args:
        nodes: each node's resources, `CPU` and `GPU`.

    Raises:
        ResourceError: the cluster does not have a CPU, and a GPU if it has any, for each encoder.
    """
    on_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)

    def room(cpus: int) -> int:
        return sum(
            int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) if on_gpu else float("inf"))) for node in nodes
        )

    for cpus in range(MOST_CPUS, 0, -1):
        if room(cpus) >= workers:
            return cpus
    needed = "a CPU and a GPU" if on_gpu else "a CPU"
    raise ResourceError(
        f"embed.workers: {workers} encoders do not find {needed} each, the cluster has room for {room(1)}; use fewer"
    )

"""A trial all-reduce between the nodes, with the backend that training will use.

It finds the usual faults between nodes: host names that resolve to the wrong network, closed ports, NCCL that does not find its
devices. There is one process per node; a single node gets two, since its workers have to connect to each other too.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wsc_ray.preflight.facts import Reduce

# Size of the tensor, about the gradient of a small encoder; enough to fill a fast link.
MEGABYTES = {"gloo": 16, "nccl": 256}
ROUNDS = 3
SECONDS = 90.0  # s for all processes to start, connect and reduce


def try_reduce(node_ids: Sequence[str], backend: str) -> Reduce:
    """All-reduce a tensor over processes on these nodes, and return the bandwidth or the problem.

    Args:
        node_ids: the node of each process; a node that is named twice gets two processes.
        backend: `gloo` for CPUs, `nccl` for one GPU per process.
    """
    actor = ray.remote(num_cpus=0, num_gpus=int(backend == "nccl"), max_restarts=0)(_Member)
    members: list[Any] = [  # Ray's types know the methods of decorated classes only
        actor.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in node_ids
    ]
    deadline = time.monotonic() + SECONDS
    try:
        meet = ray.get(members[0].meeting_point.remote(), timeout=SECONDS)
        results = [
            member.reduce.remote(backend, meet, rank, len(members), MEGABYTES[backend])
            for rank, member in enumerate(members)
        ]
        seconds = max(ray.get(results, timeout=max(deadline - time.monotonic(), 1.0)))
    except ray.exceptions.GetTimeoutError:
        busy = " (are all GPUs taken by another job?)" if backend == "nccl" else ""
        return Reduce(backend, len(members), problem=f"the processes did not meet within {SECONDS:.0f} s{busy}")
    except ray.exceptions.RayError as error:
        reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
        return Reduce(backend, len(members), problem=reason[:300])
    finally:
        for member in members:
            ray.kill(member)
    bus_bytes = 2 * (len(members) - 1) / len(members) * (MEGABYTES[backend] << 20)
    return Reduce(backend, len(members), gb_s=bus_bytes / seconds / 1e9)


class _Member:
    """One process of the all-reduce."""

    def meeting_point(self) -> str:
        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def reduce(self, backend: str, meet: str, rank: int, size: int, megabytes: int) -> float:
        """Return the seconds of the fastest of `ROUNDS` all-reduces, after one that is not measured."""
        import torch
        from torch import distributed

        device = torch.device("cuda" if backend == "nccl" else "cpu")
        distributed.init_process_group(
            backend, init_method=meet, rank=rank, world_size=size, timeout=timedelta(seconds=SECONDS)
        )
        try:
            values = torch.ones((megabytes << 20) // 4, device=device)  # (n,) float32
            distributed.all_reduce(values)
            correct = bool((values == size).all())  # on a GPU this waits for the result
            if not correct:
                raise RuntimeError("the sum is wrong")
            times = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                distributed.all_reduce(values)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - started)
            return min(times)
        finally:
            distributed.destroy_process_group()

"""A trial all-reduce between the nodes, with the backend that training will use.

What goes wrong between nodes goes wrong here: names that resolve to the wrong network, closed ports, NCCL that does
not find its devices. One process a node; on a single node two, since its workers too have to find each other.
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

MEGABYTES = {"gloo": 16, "nccl": 256}  # what is reduced, about a small encoder's gradient; enough to fill a fast link
ROUNDS = 3
SECONDS = 90.0  # for all members to start, meet and reduce


def try_reduce(node_ids: Sequence[str], backend: str) -> Reduce:
    """Reduce a tensor over one process on each of `node_ids`, given as often as it shall have one.

    Args:
        backend: `gloo` on CPUs, `nccl` on a GPU each.
    """
    actor = ray.remote(num_cpus=0, num_gpus=int(backend == "nccl"), max_restarts=0)(_Member)
    members: list[Any] = [  # Ray's types know the methods of decorated classes alone
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
    """One process of the gang."""

    def meeting_point(self) -> str:
        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def reduce(self, backend: str, meet: str, rank: int, size: int, megabytes: int) -> float:
        """Seconds of the fastest of some rounds, the first left out."""
        import torch
        from torch import distributed

        device = torch.device("cuda" if backend == "nccl" else "cpu")
        distributed.init_process_group(
            backend, init_method=meet, rank=rank, world_size=size, timeout=timedelta(seconds=SECONDS)
        )
        try:
            values = torch.ones((megabytes << 20) // 4, device=device)  # (n,) float32
            distributed.all_reduce(values)
            right = bool((values == size).all())  # on a GPU this waits for the result
            if not right:
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

"""Worker processes in one gloo group that live as long as the tests, so that each world size is started once."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = 60  # seconds, after which a test fails instead of hanging


class Gang:
    """`gang(function, *args)` runs function(rank, *args) on every worker and returns their results in rank order."""

    def __init__(self, size: int, meeting_point: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch._dynamo", "torch.distributed"])  # imported once, not per worker
        self.size = size
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, rank, size, meeting_point), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def __call__(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        for pipe in self.pipes:
            pipe.send((function, args))
        results = []
        for rank, pipe in enumerate(self.pipes):
            assert pipe.poll(2 * PATIENCE), f"worker {rank} of {self.size} does not answer"
            ok, result = pipe.recv()
            assert ok, f"worker {rank} of {self.size}:\n{result}"
            results.append(result)
        return results

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(PATIENCE)


def _work(pipe: Connection, rank: int, size: int, meeting_point: str) -> None:
    from datetime import timedelta

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=meeting_point, rank=rank, world_size=size, timeout=timedelta(seconds=PATIENCE)
    )
    while (task := pipe.recv()) is not None:
        function, args = task
        try:
            pipe.send((True, function(rank, *args)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
    dist.destroy_process_group()

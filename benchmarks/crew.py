"""Running a function in fresh processes, one or a gloo group of several on this machine, and always ending them.

The processes are forked from a server that has only imported torch and the libraries, so that each is like a newly started one
(no thread pools, no freed memory), but starts quickly.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.memory import is_out_of_memory

PATIENCE = 3600.0  # seconds for all that one crew does

# Imported once, in the server.
_PRELOAD = ["torch._dynamo", "torch.distributed", "psutil"]


class CrewError(RuntimeError):
    """A process that failed, with its traceback, or that did not answer in time."""


class OutOfMemory(CrewError):
    """A process that could not have the memory it asked for, or was killed for it."""


def run_crew(
    function: Callable[..., Any],
    *arguments: Any,
    processes: int,
    threads: int,
    preload: Sequence[str] = (),
    patience: float = PATIENCE,
) -> list[Any]:
    """function(rank, *arguments) in every process; their results in rank order.

    Args:
        function: of a module, so that the processes can import it; its arguments and result can be pickled.
        processes: how many; above 1 they are the default gloo group of torch.distributed, over loopback.
        threads: torch's, of all processes together.
        preload: modules that the server imports too; those that are not installed are passed over. It keeps what the
            first crew of this program named.
        patience: seconds before all are ended.

    Raises:
        OutOfMemory: a process could not have the memory it asked for, or was killed for it.
        CrewError: another failure, or no answer in time.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOAD, *preload])
    deadline = time.monotonic() + patience
    members: list[tuple[BaseProcess, Connection]] = []
    with tempfile.TemporaryDirectory(prefix="wsc-ray-bench-") as folder:
        store = (Path(folder) / "store").as_uri()
        try:
            for rank in range(processes):
                ours, theirs = context.Pipe()
                setting = (rank, processes, max(1, threads // processes), store, patience)
                process = context.Process(target=_work, args=(theirs, setting, function, arguments), daemon=True)
                process.start()
                theirs.close()  # so that the pipe ends with the process
                members.append((process, ours))
            return _collect(members, deadline)
        finally:
            for process, pipe in members:
                _end(process)
                pipe.close()


def _collect(members: Sequence[tuple[BaseProcess, Connection]], deadline: float) -> list[Any]:
    ranks = {pipe: rank for rank, (_, pipe) in enumerate(members)}
    results: dict[int, Any] = {}
    while len(results) < len(members):
        open_pipes = [pipe for pipe, rank in ranks.items() if rank not in results]
        ready = wait(open_pipes, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            raise CrewError("the benchmark's processes did not answer in time")
        for pipe in ready:
            rank = ranks[pipe]
            results[rank] = _receive(pipe, members[rank][0], rank)
    for process, _ in members:
        process.join(10)
    return [results[rank] for rank in range(len(members))]


def _receive(pipe: Connection, process: BaseProcess, rank: int) -> Any:
    try:
        state, value = pipe.recv()
    except EOFError:
        process.join(10)
        if process.exitcode == -9:  # the kernel's way of saying that memory ran out
            raise OutOfMemory(f"process {rank} was killed") from None
        raise CrewError(f"process {rank} ended with status {process.exitcode} and said nothing") from None
    if state == "memory":
        raise OutOfMemory(value)
    if state == "failed":
        raise CrewError(f"process {rank}:\n{value}")
    return value


def _end(process: BaseProcess) -> None:
    if process.is_alive():
        process.terminate()
        process.join(5)
    if process.is_alive():
        process.kill()
        process.join(5)


def _work(pipe: Connection, setting: tuple, function: Callable[..., Any], arguments: tuple) -> None:
    import torch
    import torch.distributed as dist

    rank, processes, threads, store, patience = setting
    gc.freeze()  # what the server imported is nothing to collect: going through it would copy all of its pages
    try:
        torch.set_num_threads(threads)
        if processes > 1:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
            dist.init_process_group(
                "gloo", init_method=store, rank=rank, world_size=processes, timeout=timedelta(seconds=patience)
            )
        answer = ("done", function(rank, *arguments))
    except Exception as error:
        state = "memory" if is_out_of_memory(error) else "failed"
        answer = (state, str(error) if state == "memory" else traceback.format_exc())
    pipe.send(answer)
    if answer[0] == "done" and processes > 1:
        dist.destroy_process_group()

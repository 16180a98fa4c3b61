"""Processes that wait and do one round of their work on request, so that contenders can take turns."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks.crew import CrewError
from benchmarks.data.cost import Sample, side_by_side

PATIENCE = 1800.0  # seconds for one round

Round = Callable[[], Sample]


class Team:
    """Newly started processes in which `prepare(rank, *arguments)` has returned what does a round.

    Args:
        prepare: of a module, so that the processes can import it; its arguments can be pickled.
        members: how many processes. They may start processes of their own.

    Raises:
        CrewError: a process failed.
    """

    def __init__(self, prepare: Callable[..., Round], members: int, *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._members = []
        for rank in range(members):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, prepare, rank, arguments))
            process.start()
            theirs.close()  # so that the pipe ends with the process
            self._members.append((process, ours))

    def __enter__(self) -> Self:
        try:
            for _, pipe in self._members:
                _receive(pipe)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process, _ in self._members]

    def round(self) -> Sample:
        """One round of all members at the same time."""
        for _, pipe in self._members:
            pipe.send("go")
        return side_by_side([_receive(pipe) for _, pipe in self._members])

    def close(self) -> None:
        """End the processes: a closed pipe lets each end what it started."""
        for _, pipe in self._members:
            pipe.close()
        for process, _ in self._members:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _receive(pipe: Connection) -> Sample | None:
    try:
        if not pipe.poll(PATIENCE):
            raise CrewError("a process of the benchmark did not answer in time")
        state, value = pipe.recv()
    except EOFError:
        raise CrewError("a process of the benchmark ended and said nothing") from None
    if state == "failed":
        raise CrewError(value)
    return value


def _work(pipe: Connection, prepare: Callable[..., Round], rank: int, arguments: tuple) -> None:
    try:
        do_round = prepare(rank, *arguments)
        pipe.send(("ready", None))
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send(("done", do_round()))
    except Exception:
        pipe.send(("failed", traceback.format_exc()))

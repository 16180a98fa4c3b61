"""Tasks that each write a file, done in several processes; a repeated command does only those whose file is missing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch


class Task(Protocol):
    """A piece of work that can be sent to another process."""

    @property
    def name(self) -> str:
        """The name of its file."""


class Work(Protocol):
    """What a process needs for every task, made once in each."""

    def run(self, task: Any) -> None:
        """Do a task, and write its file."""


@contextmanager
def task_processes(
    make: Callable[..., Work], *arguments: Any, folder: Path, processes: int
) -> Iterator[Callable[[Sequence[Task]], None]]:
    """Yield a function that does tasks and says which are done; each process has one thread.

    Args:
        make: of a module, so that processes can import it; returns the work from `arguments`.
        folder: where tasks write their files.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (make, arguments)) as pool:

        def do(tasks: Sequence[Task]) -> None:
            missing = [task for task in tasks if not (folder / task.name).exists()]
            for number, name in enumerate(pool.map(_do, missing), start=1):
                print(f"{number}/{len(missing)} {name}", flush=True)

        yield do


_work: Work | None = None  # of a process


def _begin(make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    global _work
    torch.set_num_threads(1)
    _work = make(*arguments)


def _do(task: Task) -> str:
    assert _work is not None  # `_begin` has made it
    _work.run(task)
    return task.name

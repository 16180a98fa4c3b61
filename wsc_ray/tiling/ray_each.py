"""The part of tiling that uses Ray: calling a function with many arguments, on all CPUs of the cluster."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import cv2
import ray

from wsc_ray.errors import DataError

Result = TypeVar("Result")
AHEAD = 2  # submitted tasks per CPU; more would only fill the scheduler's queue
RETRIES = 2  # retries of a task whose process or machine died


def each(
    function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[int, Result | DataError]]:
    """Run `function(*arguments[i])` as a Ray task for every i, and yield (i, result) in the order in which tasks end.

    A `DataError` takes the place of a result if the function raises `DataError` or `OSError`, or if the task's process died at every
    try: a broken slide can crash a C library. A Ray session must be running.

    Args:
        arguments: drawn from the iterable only when their task is submitted.
    """
    task: Any = ray.remote(num_cpus=1, max_retries=RETRIES)(_answer)
    shared = ray.put(function)
    waiting: dict[Any, int] = {}
    following = enumerate(arguments)
    while True:
        limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))  # machines come and go
        for index, argument in itertools.islice(following, max(0, limit - len(waiting))):
            waiting[task.remote(shared, argument)] = index
        if not waiting:
            return
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        index = waiting.pop(ready)
        try:
            yield index, ray.get(ready)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            yield index, DataError(f"the process that read it ended each time, its file may be damaged: {reason}")


def _answer(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result | DataError:
    cv2.setNumThreads(1)  # a task has one CPU
    try:
        return function(*arguments)
    except DataError as error:
        return error
    except OSError as error:  # a full disk, or a folder that may not be written
        return DataError((str(error).splitlines() or [type(error).__name__])[0])

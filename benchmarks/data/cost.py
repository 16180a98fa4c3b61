"""The cost of a piece of work: patches, wall-clock seconds, and CPU seconds of every process that took part."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil

TICK = 0.01  # seconds of CPU; Linux counts in these


@dataclass(frozen=True)
class Sample:
    """Patches made, in how many seconds of wall clock and of CPU."""

    patches: int
    seconds: float
    cpu_seconds: float

    def per_core(self, cores: int) -> float:
        """Patches a second of wall clock and core that was given."""
        return self.patches / self.seconds / cores

    @property
    def per_cpu_second(self) -> float:
        """Patches a second of CPU that was used; the system counts in ticks, of which shorter work took one at most."""
        return self.patches / max(self.cpu_seconds, TICK)


def side_by_side(samples: Sequence[Sample]) -> Sample:
    """Of processes that worked at the same time: all have ended when the slowest has."""
    return Sample(
        sum(sample.patches for sample in samples),
        max(sample.seconds for sample in samples),
        sum(sample.cpu_seconds for sample in samples),
    )


class Meter:
    """Clocks a piece of work in a process and all that it started.

    Args:
        root: the process; None: this one.
        without: processes below it that have nothing to do with the work, with all that they started.
    """

    def __init__(self, root: int | None = None, without: Sequence[int] = ()):
        self.root, self.without = os.getpid() if root is None else root, tuple(without)

    def start(self) -> None:
        self._cpu = cpu_seconds(self.root, self.without)
        self._clock = time.perf_counter()

    def stop(self, patches: int) -> Sample:
        """The cost since `start`."""
        seconds = time.perf_counter() - self._clock
        return Sample(patches, seconds, cpu_seconds(self.root, self.without) - self._cpu)


def cpu_seconds(root: int, without: Iterable[int] = ()) -> float:
    """CPU seconds that a process and its descendants have used, those included that have ended and been waited for.

    Args:
        without: descendants that are left out, with theirs.
    """
    left_out = {process for pid in without for process in _tree(pid)}
    return sum(_used(process) for process in _tree(root) - left_out)


def _tree(pid: int) -> set[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return {process, *process.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0.0
    return times.user + times.system + times.children_user + times.children_system

"""Finding the processes of a command by their roles."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterable

import psutil

DRIVER = "driver"
WORKER = "worker"
READER = "reader"
CONTROLLER = "controller"
RAYLET = "raylet"
GCS = "GCS"
NODE = "node"

# Ray shows a process's task in its command line: `ray::RayTrainWorker`, `ray::map_batches(...)`, `ray::IDLE`.
_RAY = re.compile(r"ray::(\S+)")
_READERS = re.compile(r"Read|Map|SplitCoordinator|Pace|StatsActor|Autoscal", re.IGNORECASE)
_CONTROLLERS = re.compile(r"TrainController|Tune|_QueueActor")


def role_of(line: str) -> str | None:
    """Return a process's role by its command line.

    Return None for processes that are not killed, such as Ray's agents and idle workers.
    """
    program = line.split(" ", 1)[0].rsplit("/", 1)[-1]
    if program in ("raylet", "gcs_server"):
        return RAYLET if program == "raylet" else GCS
    task = _RAY.match(line)
    if task is None or task[1] == "IDLE":
        return None
    if _CONTROLLERS.search(task[1]):
        return CONTROLLER
    return READER if _READERS.search(task[1]) else WORKER


def below(pids: Iterable[int]) -> list[psutil.Process]:
    """Return all descendants of these processes."""
    descendants: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            descendants += psutil.Process(pid).children(recursive=True)
    return descendants


def victim(role: str, pids: Iterable[int], generator: random.Random) -> psutil.Process | None:
    """Return a random descendant of these processes with that role; None if there is none at the moment."""
    candidates = []
    for process in below(pids):
        try:
            if role_of(" ".join(process.cmdline())) == role:
                candidates.append(process)
        except psutil.Error:
            pass
    return generator.choice(sorted(candidates, key=lambda process: process.pid)) if candidates else None


def still_there(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that have not ended after `seconds`."""
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

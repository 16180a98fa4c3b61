"""The processes of a command, by what they do, and killing one of them."""

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

# Ray writes what a process does into its command line: `ray::RayTrainWorker`, `ray::map_batches(...)`, `ray::IDLE`.
_RAY = re.compile(r"ray::(\S+)")
_READERS = re.compile(r"Read|Map|SplitCoordinator|Pace|StatsActor|Autoscal", re.IGNORECASE)
_CONTROLLERS = re.compile(r"TrainController|Tune|_QueueActor")


def role_of(line: str) -> str | None:
    """What a process does by its command line; None for what is not killed, such as Ray's agents and idle workers."""
    program = line.split(" ", 1)[0].rsplit("/", 1)[-1]
    if program in ("raylet", "gcs_server"):
        return RAYLET if program == "raylet" else GCS
    found = _RAY.match(line)
    if found is None or found[1] == "IDLE":
        return None
    if _CONTROLLERS.search(found[1]):
        return CONTROLLER
    return READER if _READERS.search(found[1]) else WORKER


def below(pids: Iterable[int]) -> list[psutil.Process]:
    """Everything that descends from these processes, without themselves."""
    found: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found += psutil.Process(pid).children(recursive=True)
    return found


def victim(role: str, pids: Iterable[int], generator: random.Random) -> psutil.Process | None:
    """One of the processes of that role below others, drawn; None where there is none at the moment."""
    having = []
    for process in below(pids):
        try:
            if role_of(" ".join(process.cmdline())) == role:
                having.append(process)
        except psutil.Error:
            pass
    return generator.choice(sorted(having, key=lambda process: process.pid)) if having else None


def still_there(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that have not ended after so many seconds."""
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

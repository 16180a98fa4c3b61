"""Running a command once, and killing its processes while it runs."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from wsc_ray.bench.chaos.processes import DRIVER, GCS, NODE, RAYLET, below, still_there, victim
from wsc_ray.bench.chaos.ray_cluster import NodesHere, nodes_here
from wsc_ray.bench.chaos.stages import WORKERS, Stage

LIMIT_SECONDS = 900.0  # for one attempt; a longer one counts as a hang
# After a command's end, for its processes to end too. Where the driver was killed, Ray's agents try for a minute to tell the GCS, which ended with it.
ORPHAN_SECONDS = 90.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.5
NODES_SHARE = 0.4  # share of attempts with node losses, for commands that support it
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Attempt:
    """One run of a command.

    Attributes:
        stage: the command's name.
        kills: the roles of the killed processes, in order.
        status: the exit status; negative for the signal that ended the command.
        seconds: its duration.
        said: its stderr.
        orphans: command lines of its processes that ran on for `ORPHAN_SECONDS` after its end.
    """

    stage: str
    kills: tuple[str, ...]
    status: int
    seconds: float
    said: str
    orphans: tuple[str, ...] = ()

    def faults(self) -> list[str]:
        """Return the faults of its end: a hang, a wrong exit status, a traceback, processes left behind."""
        killed = f"{self.stage} after the death of {', '.join(self.kills) or 'nobody'}"
        faults_found = [f"{killed}: left {line.strip()[:80]} behind" for line in self.orphans]
        if self.seconds >= LIMIT_SECONDS:
            faults_found.append(f"{killed}: did not end within {LIMIT_SECONDS:g} s")
        elif self.status not in (0, 2) and DRIVER not in self.kills:
            faults_found.append(f"{killed}: exit status {self.status}, and not a sentence with 2")
        if TRACEBACK in self.said:
            faults_found.append(f"{killed}: a traceback")
        return faults_found


@dataclass
class Killer:
    """Draws what is killed and when, and kills it.

    Attributes:
        left: number of kills that are left.
        allowed: number of kills that are left for the current command.
        done: roles of the killed processes in the current attempt.
    """

    generator: random.Random
    left: int
    allowed: int = 0
    done: list[str] = field(default_factory=list)

    def roles(self, stage: Stage) -> tuple[str, ...]:
        """Return the roles that may be killed in the next attempt.

        With `node` among them, the attempt runs on a cluster whose head is not killed.
        """
        if NODE in stage.victims and self.generator.random() < NODES_SHARE:
            return tuple(role for role in stage.victims if role not in (RAYLET, GCS))
        return tuple(role for role in stage.victims if role != NODE)

    def next(self, roles: Sequence[str], seconds: float) -> tuple[str, float]:
        """Return the role to kill next, and the time, for a command that takes `seconds` without kills."""
        return self.generator.choice(roles), time.monotonic() + self.generator.uniform(0, seconds)

    def strike(self, role: str, pids: list[int], nodes: NodesHere | None) -> bool:
        """Kill a process of that role, or a node; return whether there was one."""
        if role == NODE and nodes is not None:
            nodes.lose_a_node()
        elif role == DRIVER:
            _kill(psutil.Process(pids[0]))
        else:
            process = victim(role, pids, self.generator)
            if process is None:
                return False
            _kill(process)
        self.left -= 1
        self.allowed -= 1
        self.done.append(role)
        return True


def type_once(stage: Stage, folder: Path, killer: Killer | None, usual_seconds: float, log: Path) -> Attempt:
    """Run a command in a folder until its end, with the killer's kills meanwhile.

    Args:
        usual_seconds: the command's duration without kills.
        log: the file for its stderr.
    """
    environment = own_environment()
    roles = killer.roles(stage) if killer and killer.allowed else ()
    with ExitStack() as stack:
        nodes = None
        if NODE in roles:
            nodes = stack.enter_context(nodes_here(WORKERS, cpus=2, environment=environment))
            environment["RAY_ADDRESS"] = nodes.address
        stderr = stack.enter_context(log.open("w"))
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "wsc_ray", *stage.line()],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        try:
            seen = _disturb(process, killer, roles, usual_seconds, nodes)
            seconds = time.monotonic() - started
        finally:
            process.kill()
            process.wait()
        orphans = still_there(seen, ORPHAN_SECONDS)
        lines = tuple(" ".join(orphan.cmdline()) for orphan in orphans)
        for orphan in orphans:
            _kill(orphan)
    kills = tuple(killer.done) if killer else ()
    if killer:
        killer.done.clear()
    return Attempt(stage.name, kills, process.returncode, seconds, log.read_text(errors="replace"), lines)


def _disturb(
    process: subprocess.Popen[bytes],
    killer: Killer | None,
    roles: Sequence[str],
    usual_seconds: float,
    nodes: NodesHere | None,
) -> list[psutil.Process]:
    """Wait for a command's end, with the killer's kills meanwhile, and return all its descendants that were seen."""
    pids = [process.pid, *([nodes.pid] if nodes else [])]
    seen: dict[int, psutil.Process] = {}
    started = look = time.monotonic()
    role, due = killer.next(roles, usual_seconds) if killer and killer.allowed else ("", math.inf)
    while process.poll() is None and (now := time.monotonic()) - started < LIMIT_SECONDS:
        time.sleep(POLL_SECONDS)
        if now >= min(look, due):
            seen |= {descendant.pid: descendant for descendant in below(pids[:1])}
            look = now + LOOK_SECONDS
        if killer is None or now < due:
            continue
        if not killer.strike(role, pids, nodes):
            due = now + LOOK_SECONDS  # no such process exists yet
        else:
            role, due = killer.next(roles, usual_seconds) if killer.allowed else ("", math.inf)
    return list(seen.values())


def own_environment() -> dict[str, str]:
    """Return this process's environment without variables that would lead the commands to another Ray or MLflow."""
    left_out = ("RAY_ADDRESS", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()

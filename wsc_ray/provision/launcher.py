"""Ray's cluster launcher, by its own command line: bring a cluster up, reach it, take it down and look what is left.

Its commands are programs of their own here, since they ask, print and set up logging for a whole process.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import ClusterFile
from wsc_ray.provision.machines import Machines
from wsc_ray.provision.requirements import token_of
from wsc_ray.provision.tunnel import SECONDS, free_port, tunnel

RAY = str(Path(sys.executable).parent / "ray")
QUIET = ("--log-style", "pretty", "--log-color", "false")  # steps alone, in a log file too
DASHBOARD = 8265
STOPPING = 20.0  # s that processes have to end
# Where the files of `cluster/` mount the package: the watch is of the same version as whoever starts it.
MOUNTED = "~/wsc-ray"


class Launcher:
    """The cluster of a file of Ray's launcher."""

    def __init__(self, file: ClusterFile):
        self.file = file
        self._machines = Machines(file)

    def is_up(self) -> bool:
        """Whether its dashboard answers.

        Raises:
            ClusterError: nobody can log in to the head.
        """
        if self.file.provider == "local":
            self._machines.processes(
                self._machines.head
            )  # where nobody can log in, Ray's launcher would try for minutes
        with contextlib.suppress(ClusterError), self.reach(seconds=20):
            return True
        return False

    def start(self) -> None:
        """Bring up what is not up: on one that is, Ray and all that it runs would start anew.

        Raises:
            ClusterError: Ray's launcher failed.
        """
        command = ["up", "--yes", str(self.file.path)]
        done = subprocess.run([RAY, *command, *QUIET], env=self._environment(), stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise ClusterError(
                f"`ray {' '.join(command)}` failed, see above; once that is mended the same command goes on"
            )

    @contextlib.contextmanager
    def reach(self, *, seconds: float = SECONDS) -> Iterator[str]:
        """The dashboard's address on this machine, for as long as the block.

        Raises:
            ClusterError: the cluster is not up, as far as this machine knows, or does not answer.
        """
        port = free_port()
        if self.file.provider == "local":
            # Ray's own command knows only a cluster that was brought up from this machine, since it was last started.
            command = [
                *self._machines.log_in(self._machines.head),
                "-N",
                "-L",
                f"127.0.0.1:{port}:127.0.0.1:{DASHBOARD}",
            ]
        else:
            command = [RAY, "dashboard", "--port", str(port), str(self.file.path)]
        with tunnel(command, port, seconds=seconds) as address:
            yield address

    def token(self) -> str | None:
        return token_of(self.file)

    def watch(self, orders: str) -> None:
        """Start the watch on the head, or give the one that runs new orders; see `wsc_ray.autostop`.

        Raises:
            ClusterError: it does not start.
        """
        start = f"cd {MOUNTED} 2>/dev/null; python -m wsc_ray.autostop.start {shlex.quote(orders)}"
        line = f"bash --login -c {shlex.quote(start)}"
        if self.file.provider == "local":
            done = self._machines.on(self._machines.head, line)
        else:
            command = [RAY, "exec", str(self.file.path), line, *QUIET]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            said = " ".join(done.stderr.split())[-300:] or "nothing"
            raise ClusterError(
                f"the head of {self.file.name} does not start its watch, so that it would stay up until somebody takes it down; "
                f"it says: {said}; with --autostop never it is not asked to"
            )

    def down(self) -> list[str]:
        """Take it down; what is left of it all the same, as far as can be seen, a line each."""
        subprocess.run([RAY, "down", "--yes", str(self.file.path), *QUIET], stdin=subprocess.DEVNULL, check=False)
        return self._left_on_machines() if self.file.provider == "local" else self._left_in_the_cloud()

    @property
    def down_command(self) -> str:
        return f"ray down --yes {self.file.path}"

    def _asked(self, question: str) -> str | None:
        done = subprocess.run(
            [RAY, question, str(self.file.path)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    def _left_in_the_cloud(self) -> list[str]:
        head, workers = self._asked("get-head-ip"), self._asked("get-worker-ips")
        if workers is None:
            return [f"unknown: the provider did not answer; look in its console for machines of {self.file.name}"]
        return [f"machine {address}" for address in (head or "", *workers.split()) if address]

    # Ray's launcher stops the head alone and says that all is down even where that failed; workers would stay for a minute.

    def _left_on_machines(self) -> list[str]:
        everywhere = [self._machines.head, *self._machines.workers]
        for machine in everywhere:
            self._machines.stop_ray(machine)
        deadline = time.monotonic() + STOPPING
        while left := [line for machine in everywhere for line in self._machines.left_on(machine)]:
            if time.monotonic() > deadline:
                break
            time.sleep(1)
        return left

    def _environment(self) -> dict[str, str]:
        # The autoscaler that Ray takes by default, its second, never starts workers of `provider: local` (Ray 2.60).
        first = {"RAY_UP_enable_autoscaler_v2": "0"} if self.file.provider == "local" else {}
        # Ray's launcher tells the cluster to report its use where the one who calls it does.
        return {"RAY_USAGE_STATS_ENABLED": "0", **os.environ, **first}

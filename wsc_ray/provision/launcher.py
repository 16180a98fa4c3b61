"""Ray's cluster launcher, through its command line: bringing a cluster up, connecting to it, taking it down, checking what is left.

Its commands run as processes of their own, since they ask questions, print, and configure logging for a whole process.
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
QUIET = ("--log-style", "pretty", "--log-color", "false")  # print the steps only, without colours
DASHBOARD = 8265
STOPPING = 20.0  # s for processes to end
# Where the files of `cluster/` mount the package, so that the watch has the version of the client that starts it.
MOUNTED = "~/wsc-ray"


class Launcher:
    """A cluster of Ray's launcher."""

    def __init__(self, file: ClusterFile):
        self.file = file
        self._machines = Machines(file)

    def is_up(self) -> bool:
        """Return whether the dashboard answers.

        Raises:
            ClusterError: the login to the head fails.
        """
        if self.file.provider == "local":
            # If the login fails, this raises at once, while Ray's launcher would try for minutes.
            self._machines.processes(self._machines.head)
        with contextlib.suppress(ClusterError), self.reach(seconds=20):
            return True
        return False

    def start(self) -> None:
        """Bring the cluster up. Call it only for a cluster that is down: it restarts Ray, which ends all jobs.

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
        """Forward the dashboard to this machine during the block, and yield its address here.

        Raises:
            ClusterError: the cluster is not up, as far as this machine knows, or its dashboard does not answer.
        """
        port = free_port()
        if self.file.provider == "local":
            # `ray dashboard` knows only clusters that this machine brought up since it was last started.
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
        """Start the watch on the head, or give new orders to a watch that runs; see `wsc_ray.autostop`.

        Raises:
            ClusterError: the watch does not start.
        """
        start = f"cd {MOUNTED} 2>/dev/null; python -m wsc_ray.autostop.start {shlex.quote(orders)}"
        line = f"bash --login -c {shlex.quote(start)}"
        if self.file.provider == "local":
            done = self._machines.on(self._machines.head, line)
        else:
            command = [RAY, "exec", str(self.file.path), line, *QUIET]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            output = " ".join(done.stderr.split())[-300:] or "nothing"
            raise ClusterError(
                f"the head of {self.file.name} does not start its watch, so that the cluster would stay up until somebody takes it down; "
                f"the head says: {output}; with --autostop never the cluster comes up without a watch"
            )

    def down(self) -> list[str]:
        """Take the cluster down, and return a line for each machine or process that is left, as far as can be seen."""
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

    # Ray's launcher stops the head only, and reports success even if that failed; workers would stay for a minute.

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
        # Ray's default autoscaler, version 2, never starts the workers of `provider: local` (Ray 2.60).
        first = {"RAY_UP_enable_autoscaler_v2": "0"} if self.file.provider == "local" else {}
        # Ray's launcher passes this machine's setting on usage reports to the cluster: off, unless the user sets it.
        return {"RAY_USAGE_STATS_ENABLED": "0", **os.environ, **first}

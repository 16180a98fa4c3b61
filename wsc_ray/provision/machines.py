"""Machines with SSH (`provider: local` of Ray's launcher): logging in, stopping Ray, and finding its remaining processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import ClusterFile

# The brackets keep pgrep from finding the shell that runs this very line.
PROCESSES = "pgrep -fa '[r]aylet/raylet |[g]cs/gcs_server |[w]sc_ray.autostop.watch'"


class Machines:
    """The machines of a cluster file with `provider: local`."""

    def __init__(self, file: ClusterFile):
        self.file = file

    @property
    def head(self) -> str:
        provider = self.file.config["provider"]
        return str(provider.get("external_head_ip") or provider["head_ip"])

    @property
    def workers(self) -> list[str]:
        return list(self.file.config["provider"].get("worker_ips") or [])

    def stop_ray(self, machine: str) -> None:
        """Stop Ray on a machine; if the login fails, `left_on` reports it."""
        self.on(machine, "bash --login -c 'ray stop'")

    def left_on(self, machine: str) -> list[str]:
        """Return a line for each process of Ray that still runs on a machine, or a line on why that is unknown."""
        try:
            return [f"on {machine}: process {line}" for line in self.processes(machine)]
        except ClusterError as error:
            return [f"unknown: {error}"]

    def processes(self, machine: str) -> list[str]:
        """Return the id and program of Ray's own processes and of a watch on a machine.

        Raises:
            ClusterError: the login fails.
        """
        done = self.on(machine, PROCESSES)
        if done.returncode > 1:  # 1: pgrep found no process
            raise ClusterError(
                f"cannot log in to {machine}: {' '.join(done.stderr.split())[-200:] or 'no reason given'}"
            )
        return [" ".join(line.split()[:2]) for line in done.stdout.splitlines()]

    def on(self, machine: str, line: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a machine."""
        command = [*self.log_in(machine), line]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    def log_in(self, machine: str) -> list[str]:
        """Return the `ssh` command that logs in to a machine."""
        auth = self.file.config["auth"]
        key = ["-i", str(Path(auth["ssh_private_key"]).expanduser())] if auth.get("ssh_private_key") else []
        proxy = ["-o", f"ProxyCommand={auth['ssh_proxy_command']}"] if auth.get("ssh_proxy_command") else []
        # Host keys are not checked, as in Ray's launcher: machines of a private network have no known keys. ServerAlive: detect dropped connections.
        options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "ExitOnForwardFailure=yes"]
        options += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
        return ["ssh", *key, *proxy, *options, f"{auth['ssh_user']}@{machine}"]

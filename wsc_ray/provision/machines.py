"""Machines with SSH, `provider: local` of Ray's launcher: logging in, stopping Ray there, and what is left of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import ClusterFile

# Not what looks for it: a shell that runs this line holds the brackets too.
PROCESSES = "pgrep -fa '[r]aylet/raylet |[g]cs/gcs_server |[w]sc_ray.autostop.watch'"


class Machines:
    """The machines of a file with `provider: local`, as whoever reads it logs in to them."""

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
        """Stop Ray there; where nobody can log in, `left_on` says so."""
        self.on(machine, "bash --login -c 'ray stop'")

    def left_on(self, machine: str) -> list[str]:
        """What is left there, a line each."""
        try:
            return [f"on {machine}: process {line}" for line in self.processes(machine)]
        except ClusterError as error:
            return [f"unknown: {error}"]

    def processes(self, machine: str) -> list[str]:
        """Ray's own processes there, and a watch: number and program.

        Raises:
            ClusterError: nobody can log in.
        """
        done = self.on(machine, PROCESSES)
        if done.returncode > 1:  # 1: there is none
            raise ClusterError(
                f"{machine} cannot be logged in to: {' '.join(done.stderr.split())[-200:] or 'no reason given'}"
            )
        return [" ".join(line.split()[:2]) for line in done.stdout.splitlines()]

    def on(self, machine: str, line: str) -> subprocess.CompletedProcess[str]:
        """Run a shell's line there."""
        command = [*self.log_in(machine), line]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    def log_in(self, machine: str) -> list[str]:
        """The `ssh` command that logs in there."""
        auth = self.file.config["auth"]
        key = ["-i", str(Path(auth["ssh_private_key"]).expanduser())] if auth.get("ssh_private_key") else []
        proxy = ["-o", f"ProxyCommand={auth['ssh_proxy_command']}"] if auth.get("ssh_proxy_command") else []
        # As Ray's launcher logs in: machines on a network of one's own have no known keys. A dropped line is noticed.
        options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "ExitOnForwardFailure=yes"]
        options += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
        return ["ssh", *key, *proxy, *options, f"{auth['ssh_user']}@{machine}"]

"""Machines that a laptop logs in to over SSH, on this one: each a namespace of its own of processes, files and network.

What `ray stop` sees on one of them is that machine's alone, Ray's ports are its own, and nobody outside can reach it.
They end with the processes that hold them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

TOOLS = ("sshd", "ssh", "ssh-keygen", "rsync", "ip", "nsenter", "unshare")
NETWORK = "10.77.0"
SSHD = """
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile .ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
"""
# A home of its own without hiding /root, where a checkout may lie; and Ray's own folder.
MACHINE = """
set -e
mount --bind {home}/passwd /etc/passwd
mount --bind {home}/hosts /etc/hosts
hostname {home.name}
mkdir -p /tmp/ray /run/sshd
mount --bind {home}/ray /tmp/ray
exec {sshd} -D -e -f {folder}/sshd_config
"""
LAPTOP = f"ip link set lo up && ip link add br0 type bridge && ip addr add {NETWORK}.1/24 dev br0 && ip link set br0 up && exec sleep 3600"
# A socket belongs to the network that it was made in, whoever holds it.
LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b"."], [server.fileno()])
"""


@dataclass
class Network:
    """A laptop and machines beside it.

    Attributes:
        folder: of everything that belongs to it; `folder / "shared"` is what all machines see, `folder / "project"` where
            commands are typed.
        machines: address -> the process that holds it.
    """

    folder: Path
    laptop: subprocess.Popen
    machines: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def command(self, *arguments: str | Path, **environment: str) -> subprocess.Popen:
        """Start `wsc-ray ...` on the laptop, in the project's folder, stdout and stderr into one pipe."""
        line = [*self.inside(self.laptop), sys.executable, "-m", "wsc_ray", *map(str, arguments)]
        known = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        own = {
            "HOME": f"{self.folder}/laptop",
            "RAY_TMPDIR": f"{self.folder}/laptop/ray",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        return subprocess.Popen(
            line,
            cwd=self.project,
            env=known | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str | Path, **environment: str) -> tuple[int, str]:
        """The same to its end: exit status and what it said."""
        process = self.command(*arguments, **environment)
        text, _ = process.communicate(timeout=600)
        return process.returncode, text

    def processes(self) -> list[str]:
        """Command lines of all that runs on the machines, but for what lets the laptop in."""
        return [line for line in _lines(self._on_machines()) if "sshd" not in line]

    def driver(self, script: str) -> psutil.Process:
        """The Python on a machine that runs `script`, of which there has to be one."""
        (found,) = (process for process in self._on_machines() if _line(process).split()[1:] == [script])
        return found

    def on(self, address: str, line: str) -> subprocess.CompletedProcess[str]:
        """Run a shell's line on a machine, over SSH from the laptop."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        log_in = [*self.inside(self.laptop), "ssh", "-i", str(self.key), *options, f"root@{address}"]
        return subprocess.run([*log_in, line], capture_output=True, text=True, timeout=120, check=False)

    def listen(self) -> socket.socket:
        """A socket of this process that the machines reach, on the laptop's address."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            line = [*self.inside(self.laptop), sys.executable, "-c", LISTEN, f"{NETWORK}.1", str(theirs.fileno())]
            subprocess.run(line, pass_fds=[theirs.fileno()], check=True)
            _, (server,), *_ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=server)

    def _on_machines(self) -> list[psutil.Process]:
        return [process for holder in self.machines.values() for process in _tree(holder.pid)[:-1]]

    def connections(self) -> list[str]:
        """Command lines of the ways from the laptop to the cluster that are open."""
        return [line for line in _lines(psutil.process_iter()) if str(self.folder) in line and "-L 127.0.0.1" in line]

    @staticmethod
    def inside(holder: subprocess.Popen) -> list[str]:
        return ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """Start a laptop and so many machines; at the end nothing of them is left."""
    missing = [tool for tool in TOOLS if _which(tool) is None]
    if missing:
        pytest.skip(f"this machine has no {', '.join(missing)}; .ci/run installs them")
    if os.geteuid() != 0:
        pytest.skip("only root can make networks of machines")
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"this system forbids namespaces: {probe.stderr.decode().strip()}")
    folder = Path(tempfile.mkdtemp(prefix="wsc-net-"))
    made = Network(folder, _hold(["--net"], LAPTOP, folder / "laptop.log"))
    try:
        _keys(folder)
        for number in range(count):
            _add(made, f"{NETWORK}.{11 + number}", folder / f"machine-{number}")
        yield made
    finally:
        everyone = [process for holder in (*made.machines.values(), made.laptop) for process in _tree(holder.pid)]
        for process in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(everyone, timeout=10)
        shutil.rmtree(folder, ignore_errors=True)
        assert not alive, f"still running: {alive}"


def _keys(folder: Path) -> None:
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    for name in ("shared", "project", "laptop", "laptop/.ray", "laptop/ray"):
        (folder / name).mkdir()


def _add(made: Network, address: str, home: Path) -> None:
    (home / ".ssh").mkdir(parents=True)
    (home / "ray").mkdir()
    (home / ".bashrc").touch()
    shutil.copy(made.folder / "key.pub", home / ".ssh" / "authorized_keys")
    (home / "passwd").write_text(f"root:x:0:0:root:{home}:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
    (home / "hosts").write_text(f"127.0.0.1 localhost\n{address} {home.name}\n")
    script = MACHINE.format(home=home, folder=made.folder, sshd=_which("sshd"))
    kinds = ["--net", "--uts", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    holder = made.machines[address] = _hold(kinds, script, home / "machine.log")
    name, laptop, machine = f"v{len(made.machines)}", Network.inside(made.laptop), Network.inside(holder)
    for line in (
        [*laptop, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid)],
        [*laptop, "ip", "link", "set", name, "master", "br0", "up"],
        [*machine, "ip", "link", "set", "lo", "up"],
        [*machine, "ip", "addr", "add", f"{address}/24", "dev", "eth0"],
        [*machine, "ip", "link", "set", "eth0", "up"],
        # Never taken: Ray finds out a machine's address by asking which way it would go to the world.
        [*machine, "ip", "route", "add", "default", "via", f"{NETWORK}.1"],
    ):
        subprocess.run(line, check=True, capture_output=True)
    until(lambda: made.on(address, "true").returncode == 0)


def _hold(kinds: Sequence[str], script: str, log: Path) -> subprocess.Popen:
    with log.open("w") as file:
        holder = subprocess.Popen(["unshare", *kinds, "sh", "-c", script], stdout=file, stderr=file)
    own = os.readlink("/proc/self/ns/net")
    until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
    return holder


def until(done, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _lines(processes: Iterable[psutil.Process]) -> list[str]:
    return [line for line in map(_line, processes) if line]


def _line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    return []


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

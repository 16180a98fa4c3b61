"""A real Ray cluster of two nodes on loopback, with a token, in processes of its own; and a line to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
PORTS = (
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "object-manager-port",
    "node-manager-port",
    "metrics-export-port",
    "runtime-env-agent-port",
)


@dataclass
class Head:
    """What a test needs of it."""

    address: str
    token: str
    folder: Path
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """For a client that may talk to it."""
        return {**_clean(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def command(self, *arguments: str | Path, address: str | None = None, **options) -> subprocess.Popen:
        """Start `wsc-ray ... --address ...`, stdout and stderr into one pipe."""
        line = [sys.executable, "-m", "wsc_ray", *map(str, arguments), "--address", address or self.address]
        environment = self.environment | options.pop("environment", {})
        return subprocess.Popen(
            line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )

    def run(self, *arguments: str | Path, **options) -> tuple[int, str]:
        """The same to its end: exit status and what it said."""
        (ended,) = self.run_together(arguments, **options)
        return ended

    def run_together(self, *commands: tuple[str | Path, ...], **options) -> list[tuple[int, str]]:
        """Several at a time, since a job waits more than it works."""
        processes = [self.command(*arguments, **options) for arguments in commands]
        said = [process.communicate(timeout=600)[0] for process in processes]
        return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@contextlib.contextmanager
def two_nodes() -> Iterator[Head]:
    """Start it, wait until it answers with both nodes, and see at the end that nothing of it is left."""
    port, dashboard, client = free_ports(3)
    # Ray's sockets lie in this folder, and their paths may have 107 bytes.
    head = Head(f"http://127.0.0.1:{dashboard}", secrets.token_hex(32), Path(tempfile.mkdtemp(prefix="wsc-")))
    options = [f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    try:
        _start(head, "--head", *options, f"--ray-client-server-port={client}", f"--temp-dir={head.folder}")
        _wait(head, "the head", lambda: _answers(dashboard))
        _start(head, f"--address=127.0.0.1:{port}")
        yield head
    finally:
        _stop(head)


def _start(head: Head, *options: str) -> None:
    ports = [f"--{name}={number}" for name, number in zip(PORTS, free_ports(len(PORTS)), strict=True)]
    fixed = ["--block", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--object-store-memory=150000000"]
    # `python` of a job's command line is the one on the PATH of whoever starts Ray.
    environment = head.environment | {"PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"}
    with (head.folder / f"started-{len(head.processes)}.log").open("w") as log:
        command = [str(BIN / "ray"), "start", *fixed, *ports, *options]
        head.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))


def _wait(head: Head, what: str, done) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, f"{what} does not answer"
        for process in head.processes:
            assert process.poll() is None, [log.read_text() for log in head.folder.glob("started-*.log")]
        time.sleep(0.5)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def _stop(head: Head) -> None:
    """End the processes that were started here, by their ids, and what they had started."""
    everyone = []
    for process in head.processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            everyone += [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for process in reversed(head.processes):
        process.terminate()
    psutil.wait_procs(everyone, timeout=5)
    for process in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(everyone, timeout=10)
    shutil.rmtree(head.folder, ignore_errors=True)
    assert not alive, f"still running: {alive}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _clean() -> dict[str, str]:
    kept = ("RAY_", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(kept)}


class Wire:
    """A way to a port that can be cut: every connection through it drops at once, and new ones are let through.

    Args:
        server: where it begins, a socket that listens; by default on loopback.
    """

    def __init__(self, port: int, server: socket.socket | None = None):
        self.port = port
        self.server = server or socket.create_server(("127.0.0.1", 0))
        self.door = "{}:{}".format(*self.server.getsockname())
        self.address = f"http://{self.door}"
        self.open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self.server.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()

    def cut(self) -> None:
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def close(self) -> None:
        self.server.close()
        self.cut()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

"""A tunnel to a cluster's dashboard: a program that forwards the dashboard to a local port, restarted when it ends."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from wsc_ray.errors import ClusterError
from wsc_ray.provision.tether import GRACE

SECONDS = 60.0  # s for the dashboard's first answer
_PAUSE = 3.0  # s before an ended program is restarted: SSH ends when a laptop's lid is closed


@contextlib.contextmanager
def tunnel(command: Sequence[str], port: int, *, seconds: float = SECONDS) -> Iterator[str]:
    """Run `command`, which forwards `port` of this machine, and yield the dashboard's address once it answers.

    Raises:
        ClusterError: the program ended, or nothing answered in time.
    """
    address = f"http://127.0.0.1:{port}"
    closing = threading.Event()
    program = _start(command)
    running = [program]
    try:
        _wait(program, command, address, seconds)
        keeper = threading.Thread(target=_keep, args=(command, running, closing), daemon=True)
        keeper.start()
        try:
            yield address
        finally:
            closing.set()
            keeper.join()  # it may be starting a program anew, which is ended below
    finally:
        _end(running[-1])


def free_port() -> int:
    """Return a port on which no program of this machine listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    # A session of its own: Ctrl-C must reach only the command that follows the job.
    return subprocess.Popen(
        [sys.executable, "-m", "wsc_ray.provision.tether", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait(program: subprocess.Popen[str], command: Sequence[str], address: str, seconds: float) -> None:
    assert program.stderr is not None  # a pipe, see `_start`
    deadline = time.monotonic() + seconds
    while not _answers(address):
        if program.poll() is not None:
            output = " ".join(program.stderr.read().split())[-300:]
            raise ClusterError(
                f"no connection to the cluster's dashboard: `{' '.join(command)}` says: {output or 'nothing'}"
            )
        if time.monotonic() > deadline:
            raise ClusterError(f"the cluster's dashboard has not answered within {seconds:.0f} s")
        time.sleep(0.5)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=5).close()
    except urllib.error.HTTPError:  # such as 401, without the token
        return True
    except OSError:
        return False
    return True


def _keep(command: Sequence[str], running: list[subprocess.Popen[str]], closing: threading.Event) -> None:
    while not closing.wait(_PAUSE):
        if running[-1].poll() is not None:
            _end(running[-1])
            running[-1] = _start(command)


def _end(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None  # pipes, see `_start`
    assert program.stderr is not None
    program.stdin.close()  # see `tether`
    try:
        program.wait(timeout=3 * GRACE)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
    program.stderr.close()

"""One command at a time in an output folder.

On a local disk or a mount, a lock of the system (`flock`) on `.lock` in the folder, which ends with its process, however that
ends: a lock is never stale. The file says who holds it. An object store has no locks; there a folder is one job's, by
the job's id.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wsc_ray.errors import RunFolderError
from wsc_ray.storage import AnyPath

if sys.platform != "win32":  # there, nothing is locked
    import fcntl

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: AnyPath, command: str, *, name: str = LOCK, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder's lock while the block runs.

    Args:
        folder: exists.
        command: that holds it, for others to read.
        name: of the lock's file: of the whole folder, or of something in it.
        wait: seconds to wait for another process.

    Raises:
        RunFolderError: another process holds it, or it cannot be written.
    """
    if not isinstance(folder, Path) or sys.platform == "win32":
        yield
        return
    path = folder / name
    file = _locked_file(path, folder, time.monotonic() + wait)
    try:
        file.truncate(0)
        told = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        file.write(json.dumps(told))
        file.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: who opened this file before sees that it is another one now
        file.close()


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file while the block runs, once other processes have let go of it.

    Without it where there are no locks: on Windows, on some network filesystems, and in a folder that may not be written.
    """
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                file = stack.enter_context(path.open("a"))
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _locked_file(path: Path, folder: Path, until: float) -> IO[str]:
    """The file at `path`, open and locked; until then (of `time.monotonic`) it is tried again."""
    while True:
        try:
            file = path.open("a+")
        except OSError as error:
            raise RunFolderError(f"{folder} cannot be written: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = _holder(path)
            file.close()
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise RunFolderError(f"{folder} is in use{told}; wait until it has ended, or give another --out") from None
        except OSError:  # a mount that has no locks, as some network filesystems
            return file
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # its holder took it away meanwhile: lock the one that is there now


def _holder(path: Path) -> str:
    """` by wsc-ray pretrain (pid 7 on host, since 12:30 on 2026-01-31)`, as far as the file says it."""
    try:
        told = json.loads(path.read_text())
        since = time.strftime("%H:%M on %Y-%m-%d", time.localtime(told["since"]))
        return f" by `wsc-ray {told['command']}` (pid {told['pid']} on {told['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return " by another command"

"""Let one command at a time work in an output folder.

On a local disk or a mount, a command holds a lock of the system (`flock`) on `.lock` in the folder. The system releases
it when the process ends, for any reason, so that a lock is never stale. The file names the holder. An object store has no
locks; there the job's id keeps a folder to one job.
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

if sys.platform != "win32":  # on Windows nothing is locked
    import fcntl

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: AnyPath, command: str, *, name: str = LOCK, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder's lock while the block runs.

    Args:
        folder: an existing folder.
        command: the command that holds the lock, named in the errors of other commands.
        name: name of the lock's file, which may stand for the whole folder or a part of it.
        wait: seconds to wait for another process.

    Raises:
        RunFolderError: another process holds the lock, or the folder cannot be written.
    """
    if not isinstance(folder, Path) or sys.platform == "win32":
        yield
        return
    path = folder / name
    file = _locked_file(path, folder, time.monotonic() + wait)
    try:
        file.truncate(0)
        holder = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        file.write(json.dumps(holder))
        file.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while still locked, so that a process that has opened this file notices that it is gone
        file.close()


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Wait for the lock on a file and hold it while the block runs.

    The block runs without a lock where there are none: on Windows, on some network filesystems, and in a folder that may
    not be written.
    """
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                file = stack.enter_context(path.open("a"))
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _locked_file(path: Path, folder: Path, until: float) -> IO[str]:
    """Return the file at `path`, open and locked; try again until the time `until` (of `time.monotonic`)."""
    while True:
        try:
            file = path.open("a+")
        except OSError as error:
            raise RunFolderError(f"{folder} cannot be written: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(path)
            file.close()
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise RunFolderError(
                f"{folder} is in use{holder}; wait until it has ended, or give another --out"
            ) from None
        except OSError:  # a mount without locks, such as some network filesystems
            return file
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # its holder has deleted it meanwhile: lock the present file


def _holder(path: Path) -> str:
    """Return ` by wsc-ray pretrain (pid 7 on host, since 12:30 on 2026-01-31)`, if the file holds this."""
    try:
        holder = json.loads(path.read_text())
        since = time.strftime("%H:%M on %Y-%m-%d", time.localtime(holder["since"]))
        return f" by `wsc-ray {holder['command']}` (pid {holder['pid']} on {holder['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return " by another command"

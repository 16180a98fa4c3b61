"""Copies of slides from an object store on this node's disk, shared by its processes and kept up to a limit.

The copies lie in `$WSC_RAY_SLIDE_CACHE`, by default a folder of the user in the system's temporary folder. All of them have
`$WSC_RAY_SLIDE_CACHE_GB` at most; to make room, those that were used longest ago are deleted.

A copy has a folder of its own with a lock (`flock`), which a process holds alone while it writes the copy, and together with others
while the copy is in use. The system releases locks when a process ends, so that a killed process leaves nothing but an unlocked part of a
copy, which counts as used long ago.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wsc_ray.errors import DataError
from wsc_ray.lock import waiting_lock
from wsc_ray.slides.ranges import Stamp, stamp_of, unreadable
from wsc_ray.storage import StoragePath

if sys.platform != "win32":
    import fcntl

FOLDER, LIMIT = "WSC_RAY_SLIDE_CACHE", "WSC_RAY_SLIDE_CACHE_GB"
GB = 10**9
DEFAULT_GB = 50.0
FREE = GB  # bytes that stay free on the disk
_LOCK, _PART = ".lock", ".part"
_CHUNK = 8 << 20  # bytes


@contextlib.contextmanager
def node_copy(path: StoragePath) -> Iterator[Path]:
    """Yield a copy of a slide on this node's disk, which stays there at least until the block ends.

    Raises:
        DataError: the object cannot be read, or there is no room for the copy.
    """
    stamp = stamp_of(path)
    folder = cache_folder()
    name = hashlib.sha256(f"{path}\n{stamp.size}\n{stamp.changed}".encode()).hexdigest()[:24]
    copy = folder / name / path.name
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_shared(copy, path, stamp)):
            os.utime(copy)
            yield copy
    except OSError as error:
        raise DataError(f"{path} cannot be copied to {folder}: {error.strerror or error}") from error


def cache_folder() -> Path:
    """Return the folder of the copies, which only this user may read by default."""
    if named := os.environ.get(FOLDER):
        return Path(named).absolute()
    folder = Path(tempfile.gettempdir()) / f"wsc-ray-slides-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise DataError(f"{folder} belongs to another user; set {FOLDER} to a folder for copies of slides")
    return folder


def limit_bytes() -> int:
    """Return the largest size of all copies.

    Raises:
        DataError: `$WSC_RAY_SLIDE_CACHE_GB` is no number.
    """
    text = os.environ.get(LIMIT) or str(DEFAULT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise DataError(f"{LIMIT} is {text!r}; give the gigabytes that copies of slides may have on a node")
    return int(limit * GB)


def _shared(copy: Path, path: StoragePath, stamp: Stamp) -> IO[str]:
    """Return the lock of a complete copy, held together with other users; the copy is made if it is missing."""
    while True:
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((copy.parent / _LOCK).open("a"))
            fcntl.flock(lock, fcntl.LOCK_SH)
            if copy.exists():
                stack.pop_all()  # the lock stays held
                return lock
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for a process that is writing it
            if not copy.exists():
                _write(copy, path, stamp)
        # A lock cannot be made shared without letting go of it: take it anew, and look whether the copy is still there.


def _write(copy: Path, path: StoragePath, stamp: Stamp) -> None:
    part = copy.parent / _PART
    with waiting_lock(copy.parent.parent / _LOCK):  # one process at a time counts the room
        _make_room(copy.parent, path, stamp.size)
        with part.open("wb") as file:
            file.truncate(stamp.size)  # so that others count it
    try:
        _download(part, path, stamp.size)
        part.replace(copy)
    finally:
        part.unlink(missing_ok=True)


def _download(part: Path, path: StoragePath, size: int) -> None:
    try:
        files, place = path.locate()
        source = files.open_input_stream(place)
    except OSError as error:
        raise unreadable(path, error) from error
    copied = 0
    with source, part.open("r+b") as file:
        while True:
            try:
                chunk = source.read(_CHUNK)
            except OSError as error:
                raise unreadable(path, error) from error
            if not chunk:
                break
            copied += file.write(chunk)
    if copied != size:
        raise DataError(f"{path} was cut short: {copied:,} of {size:,} bytes came") from OSError()


def _make_room(own: Path, path: StoragePath, size: int) -> None:
    """Delete copies that are not in use, those used longest ago first, until `size` bytes have room.

    Raises:
        DataError: there is not room enough.
    """
    folder, limit = own.parent, limit_bytes()
    copies = sorted((each for each in _copies(folder) if each.parent != own), key=_used)
    total = sum(map(_size, copies))
    for copy in copies:
        if total + size <= limit and shutil.disk_usage(folder).free >= size + FREE:
            break
        gone = _size(copy)
        total -= gone if _delete(copy) else 0
    if total + size > limit:
        others = f", of which copies in use have {total / GB:.2f}" if total else ""
        raise DataError(
            f"{path} has {size / GB:.2f} GB and is read from a copy, and copies of slides may have {limit / GB:.2f} GB on a node{others}; "
            f"set {LIMIT} to a larger number on every node"
        )
    free = shutil.disk_usage(folder).free
    if free < size + FREE:
        raise DataError(
            f"{path} has {size / GB:.2f} GB and is read from a copy, and the disk of {folder} has {free / GB:.2f} GB free; set {FOLDER} to a "
            "folder on a larger disk"
        )


def _copies(folder: Path) -> Iterator[Path]:
    """Yield the copies in the folder, and the parts of copies."""
    for each in folder.iterdir():
        if each.is_dir():
            yield from (file for file in each.iterdir() if file.name != _LOCK)


def _delete(copy: Path) -> bool:
    """Delete a copy, or a part of one; return False if it is in use."""
    with (copy.parent / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        copy.unlink(missing_ok=True)
        return True


def _size(copy: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return copy.stat().st_size
    return 0


def _used(copy: Path) -> float:
    """Return when a copy was used last, seconds since 1970; parts were never used, and those being written are locked."""
    if copy.name == _PART:
        return 0.0
    with contextlib.suppress(FileNotFoundError):
        return copy.stat().st_mtime
    return time.time()

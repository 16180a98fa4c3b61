"""A new folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from wsc_ray import storage
from wsc_ray.errors import RunFolderError
from wsc_ray.files import is_ignored

if sys.platform != "win32":  # there, what a killed import left is not cleared away
    import fcntl

_LOCK = ".lock"
_COMPLETE = ".complete"  # in a folder whose content is on its way up


def refuse_taken(out: str) -> None:
    """Do nothing where `out` is free: missing, or an empty folder.

    Raises:
        RunFolderError: something is there, or the place cannot be looked at.
    """
    filesystem, path = storage.filesystem(out)
    if isinstance(filesystem, fs.LocalFileSystem):
        _clear_left(Path(path).resolve())
    try:
        kind = filesystem.get_file_info(path).type
        if kind == fs.FileType.File:
            empty = False
        else:
            content = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
            empty = all(is_ignored(info.base_name) for info in content)
    except (OSError, pa.ArrowException) as error:
        raise RunFolderError(f"{out} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if not empty:
        raise RunFolderError(f"{out} is not empty; give a new folder as `out`, or take away what is there")


@contextlib.contextmanager
def new_folder(out: str) -> Iterator[tuple[fs.FileSystem, str]]:
    """A filesystem and a folder on it to fill, which becomes `out` when the block ends well.

    On a local disk it is a hidden sibling, renamed at the end. An empty folder that exists already is kept, with its owner and
    rights, because it may be a mount point and its parent somebody else's: a hidden folder inside it is filled, whose content moves up
    at the end. An object store has no renaming, so there it is `out` itself: it is cleared when the block raises, and a manifest's
    files say how many they are, so that what a killed process left is not taken for a manifest.

    Raises:
        RunFolderError: `out` is taken, now or at the end, or cannot be made or written (an `OSError` in the block).
    """
    refuse_taken(out)
    filesystem, path = storage.filesystem(out)
    if not isinstance(filesystem, fs.LocalFileSystem):
        try:
            with _told(out):
                yield filesystem, path
        except BaseException:
            with contextlib.suppress(OSError):
                filesystem.delete_dir(path)
            raise
        return
    final = Path(path).resolve()
    inside = final.is_dir()
    temporary = (final if inside else final.parent) / f"{_prefix(final)}{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)  # with the rights that the umask and the folder around it give
    except OSError as error:
        raise RunFolderError(f"{out} cannot be made: {error.strerror or error}") from None
    try:
        with _locked(temporary):
            with _told(out):
                yield filesystem, str(temporary)
            try:
                if inside:
                    _refuse_content(final)
                    (temporary / _COMPLETE).touch()
                    _move_up(temporary, final)
                else:
                    (temporary / _LOCK).unlink(missing_ok=True)
                    os.rename(temporary, final)
            except OSError as error:
                raise RunFolderError(f"{out} was taken meanwhile: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_content(folder: Path) -> None:
    """
    Raises:
        OSError: somebody has put something there.
    """
    for path in folder.iterdir():
        if not is_ignored(path.name):
            raise OSError(f"it holds {path.name}")


def _move_up(temporary: Path, final: Path) -> None:
    """Give a folder what a complete folder inside it holds; files last, which say what the folders hold."""
    for path in sorted(temporary.iterdir(), key=lambda path: (path.is_file(), path.name)):
        if path.name not in (_LOCK, _COMPLETE):
            os.rename(path, final / path.name)


@contextlib.contextmanager
def _told(out: str) -> Iterator[None]:
    """A full disk, a missing bucket or a forbidden one, in a sentence."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or str(error).splitlines()[0]}") from None


def _prefix(final: Path) -> str:
    return f".{final.name[:50]}.unfinished-"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it does."""
    with open(folder / _LOCK, "w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear_left(final: Path) -> None:
    """Remove unfinished folders of killed processes, whose locks are free; move up what a complete one still holds."""
    if sys.platform == "win32":
        return
    pattern = f"{glob.escape(_prefix(final))}*"
    for folder in [*final.parent.glob(pattern), *final.glob(pattern)]:
        with contextlib.suppress(OSError), open(folder / _LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / _COMPLETE).exists():
                _move_up(folder, final)
            shutil.rmtree(folder, ignore_errors=True)

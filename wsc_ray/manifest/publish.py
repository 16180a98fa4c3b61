"""A new folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from wsc_ray import storage
from wsc_ray.errors import RunFolderError

if sys.platform != "win32":  # there, what a killed import left is not cleared away
    import fcntl

_LOCK = ".lock"


def refuse_taken(out: str) -> None:
    """Do nothing where `out` is free: missing, or an empty folder.

    Raises:
        RunFolderError: something is there, or the place cannot be looked at.
    """
    filesystem, path = storage.filesystem(out)
    try:
        kind = filesystem.get_file_info(path).type
        empty = (
            not filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
            if kind != fs.FileType.File
            else False
        )
    except (OSError, pa.ArrowException) as error:
        raise RunFolderError(f"{out} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if not empty:
        raise RunFolderError(f"{out} is not empty; give a new folder as `out`, or take away what is there")


@contextlib.contextmanager
def new_folder(out: str) -> Iterator[tuple[fs.FileSystem, str]]:
    """A filesystem and a folder on it to fill, which becomes `out` when the block ends well.

    On a local disk it is a hidden sibling, renamed at the end. An object store has no renaming, so there it is `out`
    itself: it is cleared when the block raises, and a manifest's files say how many they are, so that what a killed
    process left is not taken for a manifest.

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
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _clear_left(final)
        temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=_prefix(final)))
    except OSError as error:
        raise RunFolderError(f"{out} cannot be made: {error.strerror or error}") from None
    try:
        with _locked(temporary):
            with _told(out):
                yield filesystem, str(temporary)
            (temporary / _LOCK).unlink(missing_ok=True)
            os.chmod(temporary, 0o755)
            try:
                os.rename(temporary, final)
            except OSError as error:
                raise RunFolderError(f"{out} was taken meanwhile: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _told(out: str) -> Iterator[None]:
    """A full disk, a missing bucket or a forbidden one, in a sentence."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or str(error).splitlines()[0]}") from None


def _prefix(final: Path) -> str:
    return f".{final.name}.unfinished-"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it does."""
    with open(folder / _LOCK, "w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear_left(final: Path) -> None:
    """Remove unfinished siblings whose process has gone, which is when their lock can be had."""
    if sys.platform == "win32":
        return
    for folder in final.parent.glob(f"{glob.escape(_prefix(final))}*"):
        with contextlib.suppress(OSError), open(folder / _LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)

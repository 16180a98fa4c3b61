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

if sys.platform != "win32":  # on Windows, the folder of a killed import is not removed
    import fcntl

_LOCK = ".lock"
_COMPLETE = ".complete"  # marks a whole folder whose content is being moved to its final place


def refuse_taken(out: str) -> None:
    """Check that `out` is missing or an empty folder.

    Raises:
        RunFolderError: `out` is not empty, or cannot be read.
    """
    filesystem, path = storage.filesystem(out)
    if isinstance(filesystem, fs.LocalFileSystem):
        _clear_left(Path(os.path.realpath(path)))
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
        raise RunFolderError(f"{out} is not empty; give a new folder as `out`, or delete what it holds")


@contextlib.contextmanager
def new_folder(out: str) -> Iterator[tuple[fs.FileSystem, str]]:
    """Yield a filesystem and a folder on it to fill; the folder becomes `out` when the block ends without an error.

    On a local disk the folder is a hidden sibling of `out` and is renamed at the end. If `out` is an existing empty
    folder, it is kept, with its owner and rights, because it may be a mount point in a folder that belongs to somebody
    else: a hidden folder inside it is filled, and its content is moved up at the end. An object store cannot rename
    folders, so that the folder is `out` itself. It is deleted when the block raises. A manifest's files hold their
    number, so that files that a killed process left are not mistaken for a manifest.

    Raises:
        RunFolderError: `out` is not empty, now or at the end, or cannot be made or written (an `OSError` in the block).
    """
    refuse_taken(out)
    filesystem, path = storage.filesystem(out)
    if not isinstance(filesystem, fs.LocalFileSystem):
        try:
            with _explained(out):
                yield filesystem, path
        except BaseException:
            with contextlib.suppress(OSError):
                filesystem.delete_dir(path)
            raise
        return
    final = Path(os.path.realpath(path))  # `resolve` raises RuntimeError for a link to itself
    inside = final.is_dir()
    temporary = (final if inside else final.parent) / f"{_prefix(final)}{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)  # unlike `mkdtemp`, with the rights that the umask and the parent give
    except OSError as error:
        raise RunFolderError(f"{out} cannot be made: {error.strerror or error}") from None
    try:
        with _locked(temporary):
            with _explained(out):
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
    """Check that a folder is still empty.

    Raises:
        OSError: the folder holds a file.
    """
    for path in folder.iterdir():
        if not is_ignored(path.name):
            raise OSError(f"it holds {path.name}")


def _move_up(temporary: Path, final: Path) -> None:
    """Move the content of a complete folder up into `final`: folders first, then the files that describe them."""
    for path in sorted(temporary.iterdir(), key=lambda path: (path.is_file(), path.name)):
        if path.name not in (_LOCK, _COMPLETE):
            os.rename(path, final / path.name)


@contextlib.contextmanager
def _explained(out: str) -> Iterator[None]:
    """Raise `RunFolderError` instead of an `OSError`, such as for a full disk or a missing or forbidden bucket."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or str(error).splitlines()[0]}") from None


def _prefix(final: Path) -> str:
    return f".{final.name[:50]}.unfinished-"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside the block; the system releases it when the process ends, for any reason."""
    with open(folder / _LOCK, "w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear_left(final: Path) -> None:
    """Remove folders of killed processes, whose locks are free; first move up the content of a complete one."""
    if sys.platform == "win32":
        return
    pattern = f"{glob.escape(_prefix(final))}*"
    for folder in [*final.parent.glob(pattern), *final.glob(pattern)]:
        with contextlib.suppress(OSError), open(folder / _LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / _COMPLETE).exists():
                _move_up(folder, final)
            shutil.rmtree(folder, ignore_errors=True)

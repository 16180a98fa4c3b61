"""Write and read local files and objects in one step, as JSON and Parquet with checksums; check names of files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray import checksums
from wsc_ray.storage import AnyPath, StoragePath
from wsc_ray.uris import values_without_secrets

SUMMARY = "summary.json"  # in the output folder of a command that is complete
FILES = "files"  # its key for the digests of tables beside it
_PART = ".part"  # of a file that is being written
_PARTS = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_IN_USE = 60.0  # seconds since the last change of a file that somebody may still be writing
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ ()+=@-]*")


def is_file_name(text: str) -> bool:
    """Return whether an id can be a file name on every system: no separators, no leading dot, at most 200 bytes."""
    return bool(_FILE_NAME.fullmatch(text)) and len(text.encode()) <= 200 and not text.endswith((" ", "."))


def is_ignored(name: str) -> bool:
    """Return whether a folder that holds only this name counts as empty: a hidden file, or one made by the filesystem."""
    return name.startswith(".") or name == "lost+found"


@contextlib.contextmanager
def atomic(path: AnyPath, *, checksum: bool = False) -> Iterator[Path]:
    """Yield a temporary local file that becomes `path` when the block ends, and is deleted when the block raises.

    The file lies beside a local `path` and replaces it, with the rights that the umask and the folder give a new file. For
    an object store it is uploaded as one object.

    Args:
        checksum: whether to put a checksum into the file, whose kind must then be one that `wsc_ray.checksums` lists.
    """
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name[-60:]}.{secrets.token_hex(4)}{_PART}"
    else:
        handle, name = tempfile.mkstemp(prefix="wsc-ray-")
        os.close(handle)
        temporary = Path(name)
    try:
        if isinstance(path, Path):
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        if checksum:
            checksums.seal(temporary)
        if isinstance(path, Path):
            os.replace(temporary, path)
        else:
            _upload(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)) and isinstance(path, Path):
            error.filename = str(path)  # a full disk names no file, and nobody knows the temporary one
        raise
    finally:
        with contextlib.suppress(OSError):  # such as on a disk that became read-only: the first error is the one to say
            temporary.unlink()


def delete_left_parts(folder: AnyPath, *, hold: str) -> None:
    """Delete the temporary files that `atomic` could not delete in a folder and below, since its process was killed.

    A file that changed in the last minute is kept: somebody may be writing it.

    Args:
        hold: name of the file by which a folder below shows that another command works in it; such a folder is passed over.
    """
    if not isinstance(folder, Path):
        return  # an object store receives whole objects only
    now = time.time()
    for path, folders, files in os.walk(folder):
        if hold in files and Path(path) != folder:
            folders.clear()
            continue
        for name in files:
            if _PARTS.fullmatch(name):
                with contextlib.suppress(OSError):  # somebody else has deleted it, or the folder may not be written
                    part = Path(path, name)
                    if now - part.stat().st_mtime > _IN_USE:
                        part.unlink()


@contextlib.contextmanager
def local_file(path: AnyPath) -> Iterator[Path]:
    """Yield a local file to read: `path` itself, or a copy with the same name that is deleted when the block ends.

    Raises:
        FileNotFoundError: the object does not exist.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wsc-ray-") as folder:
        copy = Path(folder) / path.name
        _download(path, copy)
        yield copy


@contextlib.contextmanager
def local_folder(path: AnyPath) -> Iterator[Path]:
    """Yield a local folder to read: `path` itself, or a copy that is deleted when the block ends."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wsc-ray-") as folder:
        copy = Path(folder) / path.name
        _download_folder(path, copy)
        yield copy


def write_json(path: AnyPath, values: Mapping[str, Any]) -> None:
    """Write JSON with a checksum in one step: a reader sees the old file or the new, never half of it."""
    with atomic(path, checksum=True) as temporary:
        temporary.write_text(json.dumps({**values, checksums.KEY: checksums.ZEROS}, indent=2) + "\n")


def read_json(path: AnyPath) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or does not hold a JSON object.
    """
    content = path.read_bytes()
    checksums.check(content)
    try:
        values = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    values.pop(checksums.KEY, None)
    return values


def write_table(path: AnyPath, table: pa.Table) -> None:
    """Write a Parquet file with a checksum in one step."""
    with atomic(path, checksum=True) as temporary:
        pq.write_table(table, temporary)


def read_table(path: AnyPath, schema: pa.Schema | None = None) -> pa.Table:
    """Return the table in a Parquet file, after comparing the file with its checksum.

    Args:
        schema: columns to return; None: all.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or is not a Parquet file with these columns.
    """
    with local_file(path) as local:
        checksums.check(local)
        try:
            table = pq.read_table(local)
            return table if schema is None else table.select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise ValueError(first_line(error)) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's class where it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_summary(folder: AnyPath, command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write `summary.json` into a command's output folder and return its values, whose URIs have no secrets."""
    summary = values_without_secrets({"command": command, **values})
    write_json(folder / SUMMARY, summary)
    return summary


def read_summary(folder: AnyPath) -> dict[str, Any] | None:
    """Return the summary of a complete command in `folder`; None where it is missing or damaged.

    A command then completes once more and writes it again.
    """
    try:
        return read_json(folder / SUMMARY)
    except (OSError, ValueError):
        return None


def digests(folder: AnyPath, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 (hex) of files in a folder, for its summary: tables for people have no room for a checksum."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def is_changed(path: AnyPath) -> bool:
    """Return whether a file differs from the one that the summary beside it was written with, as far as that says `files`."""
    files = (read_summary(path.parent) or {}).get(FILES)
    known = files.get(path.name) if isinstance(files, dict) else None
    return known is not None and digests(path.parent, [path.name])[path.name] != known


def _upload(file: Path, path: StoragePath) -> None:
    if file.stat().st_size == 0:
        path.write_bytes(b"")
        return
    with pa.memory_map(str(file)) as source:  # writes the whole file at once, without a copy in memory
        path.write_bytes(source.read_buffer())


def _download(path: StoragePath, file: Path) -> None:
    files, place = path.locate()
    with files.open_input_stream(place) as source, file.open("wb") as target:
        while chunk := source.read(8 << 20):
            target.write(chunk)


def _download_folder(path: StoragePath, folder: Path) -> None:
    folder.mkdir()
    for entry in path.iterdir():
        if entry.is_dir():
            _download_folder(entry, folder / entry.name)
        else:
            _download(entry, folder / entry.name)

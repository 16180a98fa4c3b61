"""Files here or on an object store: written in one step, JSON, and which ids can be file names."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsc_ray import checksums
from wsc_ray.storage import AnyPath, StoragePath
from wsc_ray.uris import values_without_secrets

SUMMARY = "summary.json"  # of a command that has come to its end, in its folder
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ ()+=@-]*")


def is_file_name(text: str) -> bool:
    """Whether an id can be a file name on every system as it is: no separators, no leading dot, at most 200 bytes."""
    return bool(_FILE_NAME.fullmatch(text)) and len(text.encode()) <= 200 and not text.endswith((" ", "."))


def is_ignored(name: str) -> bool:
    """Whether a folder that holds this name alone counts as empty: a hidden name, or what a filesystem makes at its root."""
    return name.startswith(".") or name == "lost+found"


@contextlib.contextmanager
def atomic(path: AnyPath, *, checksum: bool = False) -> Iterator[Path]:
    """A temporary local file that becomes `path` when the block ends well, and vanishes when it does not.

    It lies beside a local `path` and replaces it, with the rights that the umask and the folder give a new file; to an object store
    it is uploaded as one object.

    Args:
        checksum: whether the file gets one; it then has to be of a kind that `wsc_ray.checksums` lists.
    """
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name[-60:]}.{secrets.token_hex(4)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    else:
        handle, name = tempfile.mkstemp(prefix="wsc-ray-")
        temporary = Path(name)
    os.close(handle)
    try:
        yield temporary
        if checksum:
            checksums.seal(temporary)
        if isinstance(path, Path):
            os.replace(temporary, path)
        else:
            _upload(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def local_file(path: AnyPath) -> Iterator[Path]:
    """A local file to read: `path` itself, or a copy of it with the same name that is deleted at the block's end.

    Raises:
        FileNotFoundError: nothing is there.
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
    """A local folder to read: `path` itself, or a copy of the files in it that is deleted at the block's end."""
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
    """Read a JSON object.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it is damaged, or no JSON object.
    """
    content = path.read_bytes()
    checksums.check(content)
    try:
        values = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    values.pop(checksums.KEY, None)
    return values


def write_table(path: AnyPath, table: pa.Table) -> None:
    """Write a Parquet file with a checksum in one step."""
    with atomic(path, checksum=True) as temporary:
        pq.write_table(table, temporary)


def read_table(path: AnyPath, schema: pa.Schema | None = None) -> pa.Table:
    """Read a Parquet file as it was written.

    Args:
        schema: its columns, others are left out.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it is damaged, or no Parquet file with these columns.
    """
    with local_file(path) as local:
        checksums.check(local)
        try:
            table = pq.read_table(local)
            return table if schema is None else table.select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise ValueError(first_line(error)) from None


def first_line(error: BaseException) -> str:
    """What a library says of a file, without the rest of its story."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_summary(folder: AnyPath, command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write `summary.json` into a command's output folder and return what was written, in which URIs have no secrets."""
    summary = values_without_secrets({"command": command, **values})
    write_json(folder / SUMMARY, summary)
    return summary


def read_summary(folder: AnyPath) -> dict[str, Any] | None:
    """The summary that a command which has come to its end left in `folder`; None where there is none, or one that is
    damaged: the command then comes to its end once more."""
    try:
        return read_json(folder / SUMMARY)
    except (OSError, ValueError):
        return None


def _upload(file: Path, path: StoragePath) -> None:
    if file.stat().st_size == 0:
        path.write_bytes(b"")
        return
    with pa.memory_map(str(file)) as source:  # the whole file in one write, without a copy in memory
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

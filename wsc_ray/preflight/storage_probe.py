"""Checking that a path is the same folder on every node: one node writes a file, the others read it and write their own.

The files are written to the nearest existing folder above the results and deleted afterwards: nothing of the run itself is written.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pyarrow as pa
from pyarrow import fs

from wsc_ray.errors import UserError
from wsc_ray.preflight.facts import Storage
from wsc_ray.storage import filesystem

MEGABYTES = 16
PREFIX = ".wsc-ray-probe-"


@dataclass(frozen=True)
class Probe:
    """The file that the first node wrote to the folder `uri`; `problem` is why it could not, "" if it could."""

    uri: str
    token: str
    digest: str
    problem: str = ""


def begin(out: str) -> Probe:
    """Write the first file near the results' folder `out`, a path or URI."""
    token = uuid.uuid4().hex[:12]
    content = os.urandom(MEGABYTES << 20)
    probe = Probe(nearest(out), token, hashlib.sha256(content).hexdigest())
    try:
        _write(probe, "first", content)
    except (OSError, pa.ArrowException, UserError) as error:
        return replace(probe, problem=_reason(error))
    return probe


def nearest(out: str) -> str:
    """Return `out`, or the nearest folder above it that exists; a URI is returned as it is, since buckets have no folders."""
    if "://" in out:
        return out
    local, place = fs.LocalFileSystem(), PurePosixPath(out)
    while local.get_file_info(str(place)).type == fs.FileType.NotFound and place != place.parent:
        place = place.parent
    return str(place)


def look(probe: Probe, name: str) -> Storage:
    """Read the first node's file and write a file named `name`; runs on every node."""
    try:
        started = time.perf_counter()
        sees = hashlib.sha256(_read(probe, "first")).hexdigest() == probe.digest
        read = time.perf_counter() - started
        content = os.urandom(MEGABYTES << 20)
        started = time.perf_counter()
        _write(probe, name, content)
        write = time.perf_counter() - started
    except FileNotFoundError:
        return Storage()
    except (OSError, pa.ArrowException, UserError) as error:
        return Storage(problem=_reason(error))
    return Storage(sees=sees, write_mb_s=MEGABYTES / write, read_mb_s=MEGABYTES / read)


def end(probe: Probe, results: dict[str, Storage]) -> dict[str, Storage]:
    """Add to `results`, by the names given to `look`, whose files are beside the first one, and delete all files."""
    if probe.problem:
        return {name: Storage(problem=probe.problem) for name in results}
    checked = {name: replace(storage, seen=_delete(probe, name)) for name, storage in results.items()}
    _delete(probe, "first")
    return checked


def _path(probe: Probe, name: str) -> tuple[fs.FileSystem, str]:
    files, folder = filesystem(probe.uri)
    return files, f"{folder.rstrip('/')}/{PREFIX}{probe.token}-{name}"


def _write(probe: Probe, name: str, content: bytes) -> None:
    files, path = _path(probe, name)
    with files.open_output_stream(path) as stream:
        stream.write(content)


def _read(probe: Probe, name: str) -> bytes:
    files, path = _path(probe, name)
    with files.open_input_stream(path) as stream:
        return stream.read()


def _delete(probe: Probe, name: str) -> bool:
    """Delete a file of the probe; return whether it existed."""
    try:
        files, path = _path(probe, name)
        exists = files.get_file_info(path).type == fs.FileType.File
        if exists:
            files.delete_file(path)
        return exists
    except (OSError, pa.ArrowException):
        return False


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0][:200]

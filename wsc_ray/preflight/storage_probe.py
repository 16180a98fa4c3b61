"""Is a folder the same folder on every node? One node writes a file there, the others read it and write their own.

The files lie in the nearest folder above the results that is there, and are gone afterwards: nothing of the run itself
is written.
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
    """A file that the first node has written; `uri` names the folder, `problem` says why it could not."""

    uri: str
    token: str
    digest: str
    problem: str = ""


def begin(out: str) -> Probe:
    """Write the first file for the results' folder `out`, a path or URI."""
    token = uuid.uuid4().hex[:12]
    content = os.urandom(MEGABYTES << 20)
    probe = Probe(nearest(out), token, hashlib.sha256(content).hexdigest())
    try:
        _write(probe, "first", content)
    except (OSError, pa.ArrowException, UserError) as error:
        return replace(probe, problem=_reason(error))
    return probe


def nearest(out: str) -> str:
    """The folder itself, or the nearest one above it that is there; a URI stays as it is, buckets having no folders."""
    if "://" in out:
        return out
    local, place = fs.LocalFileSystem(), PurePosixPath(out)
    while local.get_file_info(str(place)).type == fs.FileType.NotFound and place != place.parent:
        place = place.parent
    return str(place)


def look(probe: Probe, name: str) -> Storage:
    """Read the first node's file and write one of our own, on the node where this is called."""
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


def end(probe: Probe, found: dict[str, Storage]) -> dict[str, Storage]:
    """See whose files came to lie beside the first one, and delete them all; `found` by the names given to `look`."""
    if probe.problem:
        return {name: Storage(problem=probe.problem) for name in found}
    there = {name: replace(storage, seen=_delete(probe, name)) for name, storage in found.items()}
    _delete(probe, "first")
    return there


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
    """Whether it was there."""
    try:
        files, path = _path(probe, name)
        there = files.get_file_info(path).type == fs.FileType.File
        if there:
            files.delete_file(path)
        return there
    except (OSError, pa.ArrowException):
        return False


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0][:200]

"""`metrics.jsonl`: one line for each logged step, written by worker 0 and read by the command while training runs.

A resumed run repeats the steps after its checkpoint. It first cuts their lines off, so that each step is in the file
once. Each line ends with its checksum: the key `crc32`, computed over the line without it.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from pathlib import Path
from typing import Any

from wsc_ray.errors import RunFolderError
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath

_BEGINNING = b'{"step": '
_CHECKSUM = re.compile(r', "crc32": "([0-9a-f]{8})"\}$')
WRITE_SECONDS = 5.0  # least time between two writes of the file to an object store


class MetricsWriter:
    """Writes the file; of an existing file it keeps the lines of steps up to `first_step`.

    Lines are appended to a local file. An object cannot be appended to and is written anew, at most every
    `WRITE_SECONDS` and at each `flush`.
    """

    def __init__(self, path: AnyPath, first_step: int):
        self._path, self._written = path, time.monotonic()
        kept = [line for line in read(path) if line["step"] <= first_step]
        self._text = "".join(_line(line) for line in kept)
        self._pending = True
        self.flush()

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """Add the line of a step."""
        line = _line({"step": step, **metrics})
        if isinstance(self._path, Path):
            with self._path.open("a") as file:
                file.write(line)
            return
        self._text += line
        self._pending = True
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the lines that are not in the file yet."""
        if self._pending:
            with atomic(self._path) as temporary:
                temporary.write_text(self._text)
            self._pending, self._written = False, time.monotonic()


class MetricsReader:
    """Reads a growing file; reads an object only where its size has changed."""

    def __init__(self, path: AnyPath):
        self._path = path
        self._size: int | None = None

    def read(self, *, after: int, whole: bool = False) -> list[dict[str, Any]]:
        """Return the lines that `read` returns; none where an object's size is that of the last call, unless `whole`."""
        if isinstance(self._path, Path):
            return read(self._path, after=after)
        size = self._path.size()
        if size == self._size and not whole:
            return []
        self._size = size
        return read(self._path, after=after)


def read(path: AnyPath, *, after: int = 0) -> list[dict[str, Any]]:
    """Return the lines of steps later than `after`, without a last line that is still being written.

    Raises:
        RunFolderError: a line is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    *whole, half = content.split(b"\n")
    if not half.startswith(_BEGINNING[: len(half)]):  # not the beginning of a line that this module writes
        whole.append(half)
    lines = [_values(path, number, line) for number, line in enumerate(whole, 1)]
    return [line for line in lines if line["step"] > after]


def _line(values: dict[str, Any]) -> str:
    text = json.dumps(values)
    return f'{text[:-1]}, "crc32": "{zlib.crc32(text.encode()):08x}"}}\n'


def _values(path: AnyPath, number: int, line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
        checksum = _CHECKSUM.search(text)
        if checksum:  # older versions wrote lines without one
            text = text[: checksum.start()] + "}"
        values = json.loads(text)
        whole = not checksum or int(checksum[1], 16) == zlib.crc32(text.encode())
        numbers = all(type(value) in (int, float) for value in values.values())
        if whole and numbers and type(values["step"]) is int and "loss" in values:
            return values
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise RunFolderError(f"{path}, line {number} is damaged; delete that line, and type the command again")

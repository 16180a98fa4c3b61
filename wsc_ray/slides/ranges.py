"""Reading ranges of bytes of a slide file on a disk or an object store.

A request to an object store takes tens of milliseconds, whatever its length, and a slide's stored tiles are some kilobytes each. Ranges
that are needed soon are therefore joined where they are neighbours, and fetched at the same time.
"""

from __future__ import annotations

import bisect
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from wsc_ray.errors import DataError
from wsc_ray.storage import AnyPath, StoragePath
from wsc_ray.uris import reason_about

GAP = 32 << 10  # bytes between two ranges up to which they are fetched in one request
LONGEST = 4 << 20  # bytes of a request, unless a single range is longer
HELD = 64 << 20  # bytes that are kept for later reads
REQUESTS = 8  # at a time

Range = tuple[int, int]  # offset and length, bytes


class Stamp(NamedTuple):
    """The size of a slide file in bytes, and the time of its last change in ns since 1970: another stamp is another file."""

    size: int
    changed: int


class Ranges(ABC):
    """An open file of `size` bytes."""

    size: int

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the end of the file.

        Raises:
            OSError: the storage fails.
        """

    @abstractmethod
    def expect(self, ranges: Iterable[Range]) -> None:
        """Prepare for reads of these ranges, which come soon."""

    @abstractmethod
    def close(self) -> None:
        """Close the file; closing it again does nothing."""


class FileRanges(Ranges):
    """Ranges of a local file."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def expect(self, ranges: Iterable[Range]) -> None:
        pass  # the system reads ahead

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class ObjectRanges(Ranges):
    """Ranges of an object on a store; what was expected is fetched at once and kept, up to `HELD` bytes.

    Raises:
        DataError: the object is missing or cannot be read.
    """

    def __init__(self, path: StoragePath):
        try:
            files, place = path.locate()
            self._file = files.open_input_file(place)
            self.size = self._file.size()
        except FileNotFoundError:
            raise DataError(f"{path} is not there") from None
        except OSError as error:
            raise unreadable(path, error) from error
        self._starts: list[int] = []  # of the parts below, sorted
        self._parts: list[bytes] = []
        self._pool: ThreadPoolExecutor | None = None

    def read(self, offset: int, length: int) -> bytes:
        place = self._place(offset, length)
        if place is None:
            return self._file.read_at(length, offset)
        start = offset - self._starts[place]
        return self._parts[place][start : start + length]

    def expect(self, ranges: Iterable[Range]) -> None:
        wanted = join([each for each in ranges if sum(each) <= self.size and self._place(*each) is None])
        if not wanted:
            return
        if sum(map(len, self._parts)) + sum(length for _, length in wanted) > HELD:
            self._starts, self._parts = [], []
        if sum(length for _, length in wanted) > HELD:
            return  # too much to be kept: `read` fetches each range when it is needed
        if self._pool is None:
            self._pool = ThreadPoolExecutor(REQUESTS)
        for (offset, _), part in zip(wanted, self._pool.map(self._fetched, wanted), strict=True):
            if part is not None:
                place = bisect.bisect(self._starts, offset)
                self._starts.insert(place, offset)
                self._parts.insert(place, part)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._starts, self._parts = [], []
        self._file.close()

    def _place(self, offset: int, length: int) -> int | None:
        """Return the number of the kept part that holds a range."""
        place = bisect.bisect(self._starts, offset) - 1
        held = place >= 0 and offset + length <= self._starts[place] + len(self._parts[place])
        return place if held else None

    def _fetched(self, wanted: Range) -> bytes | None:
        """Return a range; None if it cannot be read, since `read` then says why."""
        offset, length = wanted
        try:
            return self._file.read_at(length, offset)
        except OSError:
            return None


def join(ranges: Sequence[Range]) -> list[Range]:
    """Return the ranges to fetch instead of these, sorted: neighbours up to `GAP` bytes apart are joined, up to `LONGEST` bytes."""
    joined: list[Range] = []
    for offset, length in sorted(set(ranges)):
        end = offset + length
        if joined:
            start, before = joined[-1]
            last = start + before
            if offset - last <= GAP and max(last, end) - start <= LONGEST:
                joined[-1] = (start, max(last, end) - start)
                continue
        joined.append((offset, length))
    return joined


def stamp_of(path: AnyPath) -> Stamp:
    """Return the stamp of a slide file.

    Raises:
        DataError: the file is missing, or an object cannot be read.
        OSError: a disk fails.
    """
    if isinstance(path, Path):
        try:
            found = path.stat()
        except FileNotFoundError:
            raise DataError(f"{path} is not there") from None
        return Stamp(found.st_size, found.st_mtime_ns)
    try:
        files, place = path.locate()
        info = files.get_file_info(place)
    except OSError as error:
        raise unreadable(path, error) from error
    if not info.is_file:
        raise DataError(f"{path} is not there")
    return Stamp(info.size or 0, info.mtime_ns or 0)


def unreadable(path: StoragePath, error: OSError) -> DataError:
    """Return the sentence on an object that a store does not give."""
    return DataError(
        f"{path} cannot be read: {reason_about(str(path), error)}; check its name, and that every node has the right to read it"
    )

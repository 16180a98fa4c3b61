"""Slides on an object store: read by ranges of bytes where the reader can, otherwise from a copy on the node's disk."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.node_copies import node_copy
from wsc_ray.slides.ranges import ObjectRanges
from wsc_ray.slides.slide import Region, Slide
from wsc_ray.storage import StoragePath

if TYPE_CHECKING:
    from typing_extensions import Buffer

SEVERAL_FILES = frozenset((".mrxs", ".vms", ".vmu", ".ndpis", ".dcm"))  # suffixes of slides that are more than one file
BLOCK = 64 << 10  # bytes of a request for a slide's head


class CopiedSlide(Slide):
    """A slide that a reader reads from a copy on the node's disk."""

    def __init__(self, path: StoragePath, kind: type[Slide]):
        if path.suffix.lower() in SEVERAL_FILES:
            raise DataError(
                f"{path} is a slide of several files, which are not read from an object store; copy them to a disk that every node sees"
            )
        with contextlib.ExitStack() as stack:
            copy = stack.enter_context(node_copy(path))
            try:
                self._slide = kind(copy)
            except DataError as error:
                raise DataError(str(error).replace(str(copy), f"{path}")) from None
            stack.callback(self._slide.close)
            self._opened = stack.pop_all()
        self.size, self.downsamples = self._slide.size, self._slide.downsamples
        self.mpp, self.scanned = self._slide.mpp, self._slide.scanned

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        return self._slide.read(x, y, level, width, height)

    def read_regions(self, regions: Sequence[Region]) -> Iterator[np.ndarray | DataError]:
        return self._slide.read_regions(regions)

    def close(self) -> None:
        self._opened.close()


class TiffObject(ObjectRanges):
    """A TIFF on an object store, and its head: a file in memory with the same size and tags, and zeros in place of the pixels.

    Libraries that open the head by its path find all tags. It takes memory only for the parts that hold tags, and is gone when the process
    ends, for whatever reason.

    Attributes:
        head: path of the head, for this process; None if the object is no TIFF, is damaged, or the system has no files in memory.
    """

    head: Path | None = None

    def __init__(self, path: StoragePath):
        super().__init__(path)
        self._memory = -1
        if self.read(0, 4)[:4] not in _TIFFS or not hasattr(os, "memfd_create"):
            return
        self._memory = os.memfd_create("wsc-ray-slide")
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            os.ftruncate(self._memory, self.size)
            if _read_tags(_Recorded(self, self._memory)):
                self.head = Path(f"/proc/self/fd/{self._memory}")
            stack.pop_all()  # it stays open

    def close(self) -> None:
        super().close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1


_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class _Recorded(io.RawIOBase):
    """A file whose blocks are fetched when they are first read, and written to a file in memory."""

    def __init__(self, source: ObjectRanges, memory: int):
        self._source, self._memory = source, memory
        self._there: set[int] = set()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._source.size)
        for block in range(self._at // BLOCK, -(-end // BLOCK)):
            if block not in self._there:
                os.pwrite(self._memory, self._source.read(block * BLOCK, BLOCK), block * BLOCK)
                self._there.add(block)
        data = os.pread(self._memory, max(0, end - self._at), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _read_tags(file: _Recorded) -> bool:
    """Read all tags of all pages, and return whether that was possible."""
    import tifffile

    from wsc_ray.slides.tiff_levels import DAMAGED

    opened: Any = file  # tifffile's types ask for a BinaryIO, and it takes any file
    try:
        with tifffile.TiffFile(opened, name="slide") as tiff:
            pages: Any = tiff.pages
            for page in pages:
                for tag in page.tags:
                    _ = tag.value
        return True
    except OSError:
        raise
    except DAMAGED:
        return False

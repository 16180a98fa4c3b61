"""Write HDF5 files in one step, with a checksum, also where the disk becomes full.

After a failed write, HDF5 raises a RuntimeError when it closes the file, and may crash when the process ends. So HDF5 does not see the
failure: the first error is kept, later writes are dropped, and the error is raised after HDF5 has closed the file.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import h5py

from wsc_ray import checksums
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath


@contextlib.contextmanager
def new_hdf5(path: AnyPath) -> Iterator[h5py.File]:
    """Yield a new HDF5 file that becomes `path`, with a checksum, when the block ends; see `atomic`.

    Raises:
        OSError: the disk refused a write.
    """
    with atomic(path, checksum=True) as temporary, _Disk(temporary, "w+") as disk:
        with h5py.File(disk, "w", userblock_size=checksums.USER_BLOCK) as file:
            yield file
        if disk.refused is not None:
            raise disk.refused


class _Disk(io.FileIO):
    """A file whose writes always seem to succeed; the first error is kept in `refused`."""

    refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self.refused is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.refused = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.refused = self.refused or error
            return size or 0

"""Files wherever they live: one function from a path or URI to a pyarrow filesystem."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem as FsspecLocal
from pyarrow import fs

from wsc_ray.errors import DataError


def filesystem(uri: str | Path) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path on it that `uri` names.

    pyarrow's own filesystems are taken first (local, s3://, gs://, hdfs://), then any that fsspec knows.

    Raises:
        DataError: a scheme that neither knows, or a driver that is not installed.
    """
    text = str(uri)
    if "://" not in text:
        return fs.LocalFileSystem(), str(Path(text).expanduser().absolute())
    try:
        return fs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        pass
    except OSError as error:
        raise DataError(f"{text} cannot be opened: {error}") from None
    try:
        found, path = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise DataError(f"{text} cannot be opened: {error}") from None
    if isinstance(found, FsspecLocal):
        return fs.LocalFileSystem(), path
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path

"""Read an image file by its path or URI, from any filesystem that pyarrow or fsspec know."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from pyarrow import fs

from wsc_ray import storage
from wsc_ray.errors import DataError


def read_uri(uri: str, folder: str) -> bytes:
    """Return the bytes of an image file.

    Args:
        uri: a path or URI; relative to `folder` where it has neither a scheme nor a leading slash.
        folder: a path or URI.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    filesystem, path = locate(uri, folder)
    try:
        with filesystem.open_input_file(path) as file:
            return file.readall()
    except OSError as error:
        raise DataError(f"{uri} cannot be read: {_reason(error)}") from None


def locate(uri: str, folder: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem and path of an image; filesystems are cached, one for each host or bucket."""
    if "://" in uri:
        root, path = _split(uri)
    elif uri.startswith("/"):
        root, path = "/", uri[1:]
    else:
        root, path = folder, uri
    filesystem, prefix = _root(root)
    return filesystem, f"{prefix.rstrip('/')}/{path}"


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{query}", parts.path.lstrip("/")


@lru_cache(maxsize=64)
def _root(uri: str) -> tuple[fs.FileSystem, str]:
    return storage.filesystem(uri)


def _reason(error: OSError) -> str:
    return error.strerror or str(error).splitlines()[0]

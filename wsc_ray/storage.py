"""Local files and files on object stores: find the filesystem of a path or URI, and use both kinds in one way.

`as_path` returns a `pathlib.Path` for a local path and a `StoragePath` for a URI. Both have the methods of
`StoragePath`, and code that works on either (`AnyPath`) uses no others.

A request to S3 ends after some seconds without a byte, and is made three times at most. By default pyarrow would make
some thirty requests, which takes a hundred seconds with a store that accepts connections and never answers (pyarrow 25,
measured). Readers of patches try again with longer pauses, see `wsc_ray.pixels.retry`.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem as FsspecLocal
from pyarrow import fs

from wsc_ray.errors import DataError, PlaceError, RunFolderError
from wsc_ray.fsspec_files import FsspecFiles
from wsc_ray.places import PLACE, checked_uri, local_path
from wsc_ray.uris import reason_about, shown

S3_CONNECT_SECONDS = 3
S3_SILENCE_SECONDS = 5  # a request ends after so long without a byte
S3_ATTEMPTS = 3
_S3_FLAGS = ("allow_delayed_open", "allow_bucket_creation", "allow_bucket_deletion")
_S3_TEXTS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")
_OBJECT_STORES = ("s3", "gcs", "abfs")  # filesystems where an object appears whole, when its upload ends, or not at all
_ENCODED = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")  # schemes whose URIs pyarrow decodes; fsspec does not


def filesystem(uri: str | Path) -> tuple[fs.FileSystem, str]:
    """Return the filesystem, and the path on it, that `uri` names.

    pyarrow's own filesystems (local, s3://, gs://, hdfs://) come first, then any that fsspec knows.

    Raises:
        DataError: neither knows the scheme, its driver is not installed, or the URI lacks a part that the driver needs.
        PlaceError: no file can have this path or URI.
    """
    text = str(uri)
    if "://" not in text:
        return fs.LocalFileSystem(), str(local_path(text))
    if text.startswith("file://"):
        return fs.LocalFileSystem(), str(as_path(text))
    checked_uri(text)
    try:
        opened, path = fs.FileSystem.from_uri(text)
        if isinstance(opened, fs.PyFileSystem):  # pyarrow's hf://, with the errors of its library
            return fs.PyFileSystem(FsspecFiles(opened.handler.fs)), path
        return (_with_timeouts(opened, text) if isinstance(opened, fs.S3FileSystem) else opened), path
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        pass
    except OSError as error:
        raise DataError(f"{shown(text)} cannot be opened: {reason_about(text, error)}") from None
    try:
        opened, path = fsspec.core.url_to_fs(text)
    except Exception as error:  # its filesystems raise any error, also TypeError for a part that the URI lacks
        raise DataError(f"{shown(text)} cannot be opened: {reason_about(text, error)}") from None
    if isinstance(opened, FsspecLocal):
        return fs.LocalFileSystem(), path
    return fs.PyFileSystem(FsspecFiles(opened)), path


def _with_timeouts(opened: fs.S3FileSystem, uri: str) -> fs.S3FileSystem:
    """Return the filesystem of an s3:// URI with our timeouts; unchanged if an option exists only in URIs."""
    parts = urlsplit(uri, allow_fragments=False)
    options = dict(parse_qsl(parts.query))
    if set(options) - {*_S3_FLAGS, *_S3_TEXTS}:
        return opened
    login = {}
    if parts.username is not None and parts.password is not None:
        login = {"access_key": unquote(parts.username), "secret_key": unquote(parts.password)}
    return fs.S3FileSystem(
        **login,
        **{name: options[name] for name in _S3_TEXTS[1:] if name in options},
        # Writes a small object in one request; otherwise every object takes three.
        **{"allow_delayed_open": True}
        | {name: options[name].lower() in ("1", "true") for name in _S3_FLAGS if name in options},
        region=opened.region,  # where the URI does not name it, pyarrow has asked the bucket
        connect_timeout=S3_CONNECT_SECONDS,
        request_timeout=S3_SILENCE_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS),
    )


def child(uri: str, name: str) -> str:
    """Return the path or URI of `name` inside `uri`; a query (`?endpoint_override=...`) stays at the end."""
    if "://" not in uri:
        return f"{uri.rstrip('/')}/{name}"
    parts = urlsplit(uri, allow_fragments=False)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()


def parent(uri: str) -> str:
    """Return the folder that holds a file or folder; the parent of a bucket is the bucket."""
    if "://" not in uri:
        return uri.rpartition("/")[0] or ("/" if uri.startswith("/") else ".")
    parts = urlsplit(uri, allow_fragments=False)
    return parts._replace(path=parts.path.rpartition("/")[0]).geturl()


class StoragePath:
    """A file or folder on an object store, with some of `pathlib.Path`'s methods; see `as_path`.

    A folder exists where it holds a file. Files are written in one step: a reader sees the old content or the new.
    `str()` returns the URI, with its query at the end; in an f-string the URI has no user and no password, so that
    messages do not show them.

    Raises:
        FileNotFoundError: methods that read raise this where the file does not exist.
        DataError: the scheme is unknown, or its driver is not installed.
    """

    __slots__ = ("_base", "_names")

    def __init__(self, uri: str, names: tuple[str, ...] = ()):
        parts = urlsplit(uri, allow_fragments=False)
        self._base = parts._replace(path=parts.path.rstrip("/")).geturl()
        self._names = names  # names below `_base`, not URI-encoded

    def __str__(self) -> str:
        uri = self._base
        for name in self._names:
            uri = child(uri, quote(name, safe="=@+,()") if self._scheme in _ENCODED else name)
        return uri

    def __format__(self, spec: str) -> str:
        return format(shown(self), spec)

    def __repr__(self) -> str:
        return f"StoragePath({shown(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoragePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: StoragePath) -> bool:
        return str(self) < str(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoragePath, (self._base, self._names)

    def __truediv__(self, name: str) -> Self:
        return type(self)(self._base, (*self._names, *(part for part in name.split("/") if part not in ("", "."))))

    @property
    def name(self) -> str:
        if self._names:
            return self._names[-1]
        last = urlsplit(self._base, allow_fragments=False).path.rpartition("/")[2]
        return unquote(last) if self._scheme in _ENCODED else last

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Self:
        return type(self)(self._base, self._names[:-1]) if self._names else type(self)(parent(self._base))

    def locate(self) -> tuple[fs.FileSystem, str]:
        """Return the filesystem, and the path on it."""
        files, path = _filesystem(self._base)
        return files, "/".join([path.rstrip("/"), *self._names])

    def exists(self) -> bool:
        return self._type() != fs.FileType.NotFound

    def is_file(self) -> bool:
        return self._type() == fs.FileType.File

    def is_dir(self) -> bool:
        return self._type() == fs.FileType.Directory

    def size(self) -> int | None:
        """Return the number of bytes of a file, None where it does not exist."""
        files, path = self.locate()
        with self._named():
            return files.get_file_info(path).size

    def iterdir(self) -> Iterator[Self]:
        """Yield the files and folders in the folder; none if it does not exist."""
        files, path = self.locate()
        with self._named():
            found = files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        for info in found:
            if name := info.path[len(path) :].strip("/"):
                yield self / name

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield the files and folders in the folder whose names match `pattern`, which has no `/`."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        files, path = self.locate()
        with self._named(), files.open_input_stream(path) as stream:
            return stream.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes | pa.Buffer) -> None:
        """Write the file in one step."""
        files, path = self.locate()
        with self._named():
            if files.type_name in _OBJECT_STORES:
                _put(files, path, content)
                return
            folder, _, name = path.rpartition("/")
            files.create_dir(folder, recursive=True)
            _put(files, f"{folder}/.{name}.part", content)
            files.move(f"{folder}/.{name}.part", path)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """Write the file in one step."""
        self.write_bytes(text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        files, path = self.locate()
        try:
            with self._named():
                files.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists when a file in it does."""

    @property
    def _scheme(self) -> str:
        return self._base.partition("://")[0].lower()

    def _type(self) -> fs.FileType:
        files, path = self.locate()
        with self._named():
            return files.get_file_info(path).type

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Note the URI on the store's errors, by which `wsc_ray.disk.explained` knows them; as `filename` it would be in their text."""
        try:
            yield
        except OSError as error:
            setattr(error, PLACE, str(self))
            raise


AnyPath = Path | StoragePath


def as_path(place: str | AnyPath) -> AnyPath:
    """Return an absolute local path, or the `StoragePath` that a URI names; `file://` is local.

    Raises:
        PlaceError: no file can have this path or URI.
    """
    if isinstance(place, StoragePath):
        return place
    text = str(place)
    if text.startswith("file://"):
        return local_path(unquote(urlsplit(checked_uri(text), allow_fragments=False).path))
    return StoragePath(checked_uri(text)) if "://" in text else local_path(text)


def check_store(path: AnyPath) -> None:
    """Check that a store answers and may be read, before anything is written; local paths are not checked.

    Raises:
        RunFolderError: the bucket does not exist, may not be read, or does not answer.
    """
    if isinstance(path, Path):
        return
    try:
        files, place = path.locate()
        bucket = place.partition("/")[0]
        # In other stores, asking for a bucket needs a right that reading and writing do not; listing a missing one fails.
        if files.type_name == "s3" and files.get_file_info(bucket).type == fs.FileType.NotFound:
            raise RunFolderError(f"{path}: there is no bucket {bucket}; make it, or give another place")
        if files.type_name not in _OBJECT_STORES:
            files.get_file_info(place)
        files.get_file_info(fs.FileSelector(place, allow_not_found=True))
    except (OSError, pa.ArrowException, DataError, PlaceError) as error:
        reason = reason_about(str(path), error)
        raise RunFolderError(
            f"{path} cannot be used: {reason}; check the bucket's name, its region and your right to read and write it"
        ) from None


@lru_cache(maxsize=256)
def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    return filesystem(uri)


def _put(files: fs.FileSystem, path: str, content: bytes | pa.Buffer) -> None:
    """Write a file in one call: closing a stream completes its object, also when it was interrupted between two writes."""
    with files.open_output_stream(path) as stream:
        stream.write(content)

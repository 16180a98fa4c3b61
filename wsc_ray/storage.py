"""Files wherever they live: one function from a path or URI to a pyarrow filesystem.

A request to S3 that gets no byte for some seconds is given up, and each is made three times at most. What pyarrow makes
of a URI by itself asks some thirty times, which with a store that accepts and never answers takes a hundred seconds
(pyarrow 25, measured); who reads patches tries again with longer pauses, see `wsc_ray.pixels.retry`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem as FsspecLocal
from pyarrow import fs

from wsc_ray.errors import DataError

S3_CONNECT_SECONDS = 3
S3_SILENCE_SECONDS = 5  # without a byte
S3_ATTEMPTS = 3
_S3_FLAGS = ("allow_delayed_open", "allow_bucket_creation", "allow_bucket_deletion")
_S3_TEXTS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")


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
        found, path = fs.FileSystem.from_uri(text)
        return (_patient(found, text) if isinstance(found, fs.S3FileSystem) else found), path
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


def _patient(found: fs.S3FileSystem, uri: str) -> fs.S3FileSystem:
    """What pyarrow makes of an s3:// URI, with our patience; as it is where the URI asks for what only a URI can."""
    parts = urlsplit(uri, allow_fragments=False)
    options = dict(parse_qsl(parts.query))
    if set(options) - {*_S3_FLAGS, *_S3_TEXTS}:
        return found
    login = {}
    if parts.username is not None and parts.password is not None:
        login = {"access_key": unquote(parts.username), "secret_key": unquote(parts.password)}
    return fs.S3FileSystem(
        **login,
        **{name: options[name] for name in _S3_TEXTS[1:] if name in options},
        **{name: options[name].lower() in ("1", "true") for name in _S3_FLAGS if name in options},
        region=found.region,  # where the URI does not say it, pyarrow has asked the bucket
        connect_timeout=S3_CONNECT_SECONDS,
        request_timeout=S3_SILENCE_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS),
    )

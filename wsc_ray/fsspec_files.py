"""Use a filesystem of fsspec through pyarrow, with OSError for every failure.

Readers catch OSError, which Python and pyarrow raise; fsspec's filesystems also raise errors of their libraries
(`ftplib.Error`, `aiohttp.ClientError`, TypeError, NotImplementedError). Subclasses of OSError, such as
FileNotFoundError, are not changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import fs


class FsspecFiles(fs.FSSpecHandler):
    """pyarrow's handler for a filesystem of fsspec."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return _with_os_errors(value) if callable(value) and not name.startswith("_") and name != "fs" else value

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(_File(self._existing(path)), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(_File(self._existing(path)), mode="r")

    def _existing(self, path: str) -> Any:
        if not self.fs.isfile(path):
            raise FileNotFoundError(path)
        return self.fs.open(path, mode="rb")


class _File:
    """A file of fsspec whose methods raise OSError."""

    def __init__(self, file: Any):
        self._file = file

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        return _with_os_errors(value) if callable(value) else value


def _with_os_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same and raises OSError instead of other errors."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except OSError:
            raise
        except Exception as error:
            raise OSError(str(error) or type(error).__name__) from error

    return call

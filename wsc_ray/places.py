"""What can be a path or URI at all: looked at where it is given, before anything is opened.

Python and the libraries below raise whatever they raise on odd ones: RuntimeError on `~nosuchuser`, OSError on names that no
disk takes, ValueError on `http://[::1`. Here each is one sentence.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from wsc_ray.errors import PlaceError
from wsc_ray.uris import shown

NAME_BYTES, PLACE_BYTES = 255, 4096  # NAME_MAX and PATH_MAX of Linux; object stores take 1024 of a key
_BUCKETS = ("s3", "gs", "gcs")  # schemes whose first part names a bucket
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def local_path(place: str | Path) -> Path:
    """A local path as it is given, absolute, with `~` resolved.

    Raises:
        PlaceError: no file can have it: empty, a NUL, a name of more bytes than disks take, a home that nobody has. Or it is a URI.
    """
    text = _text(place)
    if "://" in text:
        raise PlaceError(f"{_short(text)} is a URI; give a path on this machine")
    if "\0" in text:
        raise PlaceError(f"{_short(text)}: no path has a NUL character")
    if any(len(name.encode()) > NAME_BYTES for name in text.split("/")):
        raise PlaceError(f"{_short(text)}: a name in it has more than {NAME_BYTES} bytes, which no disk takes")
    try:
        return (Path(text).expanduser() if text.startswith("~") else Path(text)).absolute()
    except RuntimeError:  # of expanduser
        user = text.split("/")[0]
        raise PlaceError(
            f"{_short(user)}: nobody of that name has a home here; ./{user} is a folder that is called so"
        ) from None
    except FileNotFoundError:  # of absolute
        raise PlaceError(f"{_short(text)}: the current folder has gone; change to another one") from None


def checked_uri(place: str) -> str:
    """A URI, `scheme://...`, that can be taken apart.

    Raises:
        PlaceError: it cannot, or lacks a bucket's name.
    """
    text = _text(place)
    if _CONTROL.search(text):
        raise PlaceError(f"{_short(text)}: no URI has a control character")
    try:
        parts = urlsplit(text, allow_fragments=False)
    except ValueError:  # whose words may quote a password
        raise PlaceError(
            f"{_short(text)}: not a URI that can be taken apart; are its brackets and colons right?"
        ) from None
    if parts.scheme in _BUCKETS and not parts.netloc.rpartition("@")[2]:
        raise PlaceError(f"{_short(text)}: names no bucket; write {parts.scheme}://BUCKET/...")
    if parts.scheme != "file" and not text.rpartition("://")[2].partition("?")[0].strip("/"):
        raise PlaceError(f"{_short(text)}: names nothing behind its `://`")
    return text


def _text(place: str | Path) -> str:
    text = str(place)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # bytes of a command line that are no text come as lone surrogates
        raise PlaceError(f"{_short(text)}: not UTF-8 text, which wsc-ray's files would have to hold") from None
    if not text:
        raise PlaceError("an empty path: give the name of a file or folder, or `.` for the current folder")
    if size > PLACE_BYTES:
        raise PlaceError(f"{_short(text)}: a path of {size:,} bytes, which no system takes")
    return text


def _short(text: str) -> str:
    """As a message may quote it; what has no print is escaped."""
    text = shown(text)
    text = text if len(text) <= 100 else f"{text[:100]}..."
    return text.encode("utf-8", "backslashreplace").decode() if text.isprintable() else ascii(text)[1:-1]

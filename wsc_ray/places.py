"""Check that a text can be a path or URI, before anything is opened.

For odd texts, Python and the libraries raise various errors: RuntimeError for `~nosuchuser`, OSError for names that no
disk accepts, ValueError for `http://[::1`. Here each is a `PlaceError` with one sentence.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from wsc_ray.errors import PlaceError
from wsc_ray.uris import shown

PLACE = "wsc_ray_place"  # attribute of a store's error: the URI that it is about
NAME_BYTES, PLACE_BYTES = 255, 4096  # NAME_MAX and PATH_MAX of Linux; keys in object stores may have 1024 bytes
_BUCKETS = ("s3", "gs", "gcs")  # schemes whose first part names a bucket
_ONE_SLASH = re.compile(rf"({'|'.join((*_BUCKETS, 'abfs', 'file', 'https?'))}):/(?!/)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def local_path(place: str | Path) -> Path:
    """Return a local path, made absolute and with `~` resolved.

    Raises:
        PlaceError: no file can have this path: it is empty, has a NUL or a name with more bytes than disks accept, or
            names the home of no user. Or it is a URI.
    """
    text = _text(place)
    if "://" in text:
        raise PlaceError(f"{_short(text)} is a URI; give a path on this machine")
    if _ONE_SLASH.match(text):
        scheme, _, rest = text.partition(":/")
        raise PlaceError(
            f"{_short(text)}: a URI has two slashes, {scheme}://{_short(rest)}; for a folder of that name, write ./{scheme}:/..."
        )
    if "\0" in text:
        raise PlaceError(f"{_short(text)}: a path cannot have a NUL character")
    if any(len(name.encode()) > NAME_BYTES for name in text.split("/")):
        raise PlaceError(f"{_short(text)}: a name in it has more than {NAME_BYTES} bytes, which no disk accepts")
    try:
        return (Path(text).expanduser() if text.startswith("~") else Path(text)).absolute()
    except RuntimeError:  # from expanduser
        user = text.split("/")[0]
        raise PlaceError(
            f"{_short(user)}: no user of that name has a home here; for a folder of that name, write ./{user}"
        ) from None
    except FileNotFoundError:  # from absolute
        raise PlaceError(f"{_short(text)}: the current folder has gone; change to another one") from None


def checked_uri(place: str) -> str:
    """Return a URI, `scheme://...`, after checking that it can be parsed.

    Raises:
        PlaceError: the URI cannot be parsed, or lacks a bucket's name.
    """
    text = _text(place)
    if _CONTROL.search(text):
        raise PlaceError(f"{_short(text)}: a URI cannot have a control character")
    try:
        parts = urlsplit(text, allow_fragments=False)
    except ValueError:  # its message may quote a password
        raise PlaceError(f"{_short(text)}: not a valid URI; are its brackets and colons right?") from None
    if parts.scheme in _BUCKETS and not parts.netloc.rpartition("@")[2]:
        raise PlaceError(f"{_short(text)}: names no bucket; write {parts.scheme}://BUCKET/...")
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise PlaceError(
            f"{_short(text)}: names a folder of the machine {parts.netloc}, which is not read from here; a path here has three "
            "slashes, file:///PATH"
        )
    if parts.scheme != "file" and not text.rpartition("://")[2].partition("?")[0].strip("/"):
        raise PlaceError(f"{_short(text)}: names nothing behind its `://`")
    return text


def _text(place: str | Path) -> str:
    text = str(place)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # bytes of a command line that are not UTF-8 come as lone surrogates
        raise PlaceError(f"{_short(text)}: not UTF-8 text, as paths in wsc-ray's files must be") from None
    if not text:
        raise PlaceError("an empty path: give the name of a file or folder, or `.` for the current folder")
    if size > PLACE_BYTES:
        raise PlaceError(f"{_short(text)}: a path of {size:,} bytes, which no system accepts")
    return text


def _short(text: str) -> str:
    """Return the text as a message may quote it: without secrets, short, with unprintable characters escaped."""
    text = shown(text)
    text = text if len(text) <= 100 else f"{text[:100]}..."
    return text.encode("utf-8", "backslashreplace").decode() if text.isprintable() else ascii(text)[1:-1]

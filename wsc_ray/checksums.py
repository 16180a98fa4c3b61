"""A checksum in every file that a later command trusts: the SHA-256 of the file, kept inside the file.

It lies where other programs pass it over, so that a file stays what it is for them, is copied and moved with its checksum, and
is written with it in one step: at no moment do a file and its checksum not fit, whatever is killed.

| file | where the checksum lies |
| --- | --- |
| JSON | the value of the key `wsc_ray_sha256`, the last one |
| YAML | a comment, the first line, so that it is there however the rest is cut |
| safetensors | the header's metadata, which come first |
| HDF5 | the user block: 512 bytes before the file proper, which the format leaves to users |
| Parquet | between the last page and the footer, where no offset of the footer points to |
| zip (what `torch.save` writes) | the archive's comment, at its end |

The digest is that of the file with 64 zeros in its place. A file without one, from before or of another program, is not checked.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import BinaryIO

KEY = "wsc_ray_sha256"
ZEROS = "0" * 64
USER_BLOCK = 512  # bytes, the smallest that HDF5 has

_ROOM = f"{KEY} {ZEROS}".encode()
_SLOT = re.compile(KEY.encode() + rb'[": ]{1,4}([0-9a-f]{64})(?![0-9a-f])')
_NEAR = 512  # bytes from the file's beginning, its end or its footer in which the checksum lies
_PIECE = 1 << 20
_HDF5, _PARQUET, _ZIP = b"\x89HDF\r\n\x1a\n", b"PAR1", b"PK\x05\x06"
_ZIP_END = 22  # bytes of an archive's last record; the last two are the comment's length


class DamagedError(ValueError):
    """A file whose content is not what was written."""

    def __init__(self) -> None:
        super().__init__("it is damaged, or was changed after it was written: its checksum is of other content")


def seal(path: Path) -> None:
    """Put the checksum into a file that has just been written: HDF5 with a user block, Parquet, zip, or text that holds 64
    zeros where the checksum belongs."""
    with path.open("r+b") as file:
        place = _find(file)
        if place is None:
            place = _make_room(file)
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest)


def sealed(content: bytes) -> bytes:
    """Content that holds 64 zeros where its checksum belongs, with the checksum."""
    file = io.BytesIO(content)
    place = _find(file)
    assert place is not None, "there is no place for a checksum"
    return content[:place] + _digest(file, place) + content[place + len(ZEROS) :]


def check(content: Path | bytes) -> None:
    """Compare a file, or its content, with the checksum that it holds; without one there is nothing to compare.

    Raises:
        OSError: it cannot be read.
        DamagedError: it is not what was written.
    """
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        place = _find(file)
        if place is None:
            return
        file.seek(place)
        if file.read(len(ZEROS)) != _digest(file, place):
            raise DamagedError


def _find(file: BinaryIO) -> int | None:
    """Where the 64 characters of the checksum begin."""
    size = file.seek(0, os.SEEK_END)
    windows = [(0, _NEAR), (size - _NEAR, size)]
    footer = _footer(file, size)
    if footer is not None:
        windows.append((footer - _NEAR, footer))
    for start, stop in windows:
        start = max(start, 0)
        file.seek(start)
        found = _SLOT.search(file.read(stop - start))
        if found:
            return start + found.start(1)
    return _anywhere(file)


def _anywhere(file: BinaryIO) -> int | None:
    """Where the checksum begins in a Parquet file whose footer is not where it should be; None in another file."""
    file.seek(0)
    if file.read(len(_PARQUET)) != _PARQUET:
        return None
    file.seek(0)
    found = _SLOT.search(file.read())
    return found.start(1) if found else None


def _footer(file: BinaryIO, size: int) -> int | None:
    """Where the footer of a Parquet file begins; None of another file."""
    if size < 12:
        return None
    file.seek(size - 8)
    tail = file.read(8)
    start = size - 8 - int.from_bytes(tail[:4], "little")
    return start if tail[4:] == _PARQUET and start > 0 else None


def _make_room(file: BinaryIO) -> int:
    """Write 64 zeros where the file's format leaves room, and return where they begin."""
    size = file.seek(0, os.SEEK_END)
    footer = _footer(file, size)
    file.seek(0)
    head = file.read(USER_BLOCK + len(_HDF5))
    if head[USER_BLOCK:] == _HDF5:
        start = 0
        file.seek(start)
        file.write(_ROOM)
    elif footer is not None:
        start = footer
        file.seek(start)
        rest = file.read()
        file.seek(start)
        file.write(_ROOM + rest)
    else:
        file.seek(max(size - _ZIP_END, 0))
        if file.read(4) != _ZIP:
            raise ValueError("a file without room for a checksum")
        start = size
        file.seek(size - 2)
        file.write(len(_ROOM).to_bytes(2, "little") + _ROOM)
    return start + _ROOM.index(ZEROS.encode())


def _digest(file: BinaryIO, place: int) -> bytes:
    """SHA-256 (hex) of the file with zeros at `place`."""
    digest = hashlib.sha256()
    file.seek(0)
    left = place
    while left and (piece := file.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    digest.update(ZEROS.encode())
    file.seek(place + len(ZEROS))
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest().encode()

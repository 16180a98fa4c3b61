"""Put a checksum, the SHA-256 of the file, into every file that a later command trusts, and check it.

The checksum is inside the file, in a place that other programs ignore. A file therefore stays readable for them, is
copied and moved with its checksum, and is written with it in one step, so that the two fit at every moment, even after a
kill.

| file | where the checksum lies |
| --- | --- |
| JSON | the value of the key `wsc_ray_sha256`, the last one |
| YAML | a comment in the first line, which is there even if the rest is cut off |
| safetensors | the header's metadata, which come first |
| HDF5 | the user block: 512 bytes before the file proper, which the format leaves to users |
| Parquet | between the last page and the footer, where no offset of the footer points |
| zip (`torch.save`) | the archive's comment, at its end |

The checksum is computed with 64 zeros in its place. A file without a checksum, from an older version or another program,
is not checked.
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
USER_BLOCK = 512  # bytes; the smallest user block of HDF5

_ROOM = f"{KEY} {ZEROS}".encode()
_SLOT = re.compile(KEY.encode() + rb'[": ]{1,4}([0-9a-f]{64})(?![0-9a-f])')
_NEAR = 512  # the checksum lies within so many bytes of the file's beginning, its end or its footer
_PIECE = 1 << 20
_HDF5, _PARQUET, _ZIP = b"\x89HDF\r\n\x1a\n", b"PAR1", b"PK\x05\x06"
_ZIP_END = 22  # bytes of an archive's last record, the last two of which hold the comment's length


class DamagedError(ValueError):
    """The content of a file does not fit its checksum."""

    def __init__(self) -> None:
        super().__init__("it is damaged, or was changed after it was written: its content does not fit its checksum")


def seal(path: Path) -> None:
    """Put the checksum into a new file: HDF5 with a user block, Parquet, zip, or text with 64 zeros in its place."""
    with path.open("r+b") as file:
        place = _find(file)
        if place is None:
            place = _make_room(file)
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest)


def sealed(content: bytes) -> bytes:
    """Return content that has 64 zeros in the place of its checksum with the checksum."""
    file = io.BytesIO(content)
    place = _find(file)
    assert place is not None, "there is no place for a checksum"
    return content[:place] + _digest(file, place) + content[place + len(ZEROS) :]


def check(content: Path | bytes) -> None:
    """Compare a file, or its content, with the checksum inside; do nothing where there is none.

    Raises:
        OSError: the file cannot be read.
        DamagedError: the content does not fit the checksum.
    """
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        place = _find(file)
        if place is None:
            return
        file.seek(place)
        if file.read(len(ZEROS)) != _digest(file, place):
            raise DamagedError


def _find(file: BinaryIO) -> int | None:
    """Return where the 64 characters of the checksum begin; None where there is none."""
    size = file.seek(0, os.SEEK_END)
    windows = [(0, _NEAR), (size - _NEAR, size)]
    footer = _footer(file, size)
    if footer is not None:
        windows.append((footer - _NEAR, footer))
    for start, stop in windows:
        start = max(start, 0)
        file.seek(start)
        match = _SLOT.search(file.read(stop - start))
        if match:
            return start + match.start(1)
    return _find_anywhere(file)


def _find_anywhere(file: BinaryIO) -> int | None:
    """Return where the checksum begins in a Parquet file whose footer is damaged; None in another file."""
    file.seek(0)
    if file.read(len(_PARQUET)) != _PARQUET:
        return None
    file.seek(0)
    match = _SLOT.search(file.read())
    return match.start(1) if match else None


def _footer(file: BinaryIO, size: int) -> int | None:
    """Return where the footer of a Parquet file begins; None for another file."""
    if size < 12:
        return None
    file.seek(size - 8)
    tail = file.read(8)
    start = size - 8 - int.from_bytes(tail[:4], "little")
    return start if tail[4:] == _PARQUET and start > 0 else None


def _make_room(file: BinaryIO) -> int:
    """Write 64 zeros into the place that the file's format leaves for a checksum, and return where they begin."""
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
    """Return the SHA-256 (hex) of the file with zeros at `place`."""
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

"""What the footers of a manifest's Parquet files tell: nothing else of them is read to plan a run."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from wsc_ray.errors import ManifestError
from wsc_ray.manifest.runs import FileRuns, only_value, read_runs
from wsc_ray.manifest.schema import (
    CHECKSUM_KEY,
    CREATOR_KEY,
    DIGEST_KEY,
    FORMAT_KEY,
    FORMAT_VERSION,
    PART_KEY,
    footer_checksum,
)

PATCHES = "patches"  # the folder inside a manifest's folder where its Parquet files lie
_MAGIC = b"PAR1"
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_TAIL = 1 << 16  # bytes read first: most footers are shorter, so one request is enough


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: `file` counts the manifest's files, `row_group` those of the file."""

    file: int
    row_group: int
    rows: int


@dataclass(frozen=True, slots=True)
class Footer:
    """One file: its columns, its content's digest, and `part` of `parts` (0 of 0 in a file of other origin).

    Attributes:
        version: of the format; 0 in a file of other origin.
        groups: rows of each row group.
        mixed: row groups that hold, or may hold, more than one split or slide label, where rows say it (format 1).
        runs: which rows are of which slide; None where the footer does not tell.
    """

    columns: tuple[str, ...]
    digest: str
    version: int
    part: int
    parts: int
    groups: tuple[int, ...]
    mixed: tuple[int, ...]
    runs: FileRuns | None

    @property
    def of_slide(self) -> bool:
        """Whether rows say of their slides what is known of them."""
        return self.version < 2


def find_files(filesystem: fs.FileSystem, path: str, uri: str) -> list[str]:
    """The Parquet files of a manifest, in order: a file, `<path>/patches/*.parquet`, or `<path>/**/*.parquet`.

    Hidden files and folders (`.name`, `_name`) are left out, as Parquet readers do.

    Raises:
        ManifestError: nothing is there, or no Parquet file.
    """
    try:
        kind = filesystem.get_file_info(path).type
        if kind == fs.FileType.File:
            return [path]
        inner = f"{path.rstrip('/')}/{PATCHES}"
        root = inner if filesystem.get_file_info(inner).type == fs.FileType.Directory else path
        found = filesystem.get_file_info(fs.FileSelector(root, recursive=root == path, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{uri} cannot be read: {_reason(error)}") from None
    if kind == fs.FileType.NotFound and not found:
        raise ManifestError(f"{uri} does not exist; give the folder of a manifest, or Parquet files")
    inside = len(root.rstrip("/")) + 1
    files = [
        info.path
        for info in found
        if info.type == fs.FileType.File
        and info.path.endswith(".parquet")
        and not any(part.startswith((".", "_")) for part in info.path[inside:].split("/"))
    ]
    if not files:
        raise ManifestError(f"{uri} holds no .parquet file; give the folder that `wsc-ray manifest import` wrote")
    return sorted(files)


def read_footer_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    """A Parquet file's footer with its length and magic; no other byte of a long file is read.

    Raises:
        ManifestError: the file cannot be read or is not whole.
    """
    try:
        with filesystem.open_input_file(path) as file:
            size = file.size()
            tail = _read_at(file, max(0, size - _TAIL), size)
            length = struct.unpack("<I", tail[-8:-4])[0] + 8 if size >= 12 else 0
            if tail[-4:] != _MAGIC or not 12 <= length <= size:
                raise ManifestError(f"{path} is not a whole Parquet file; write it again, or take it away")
            return tail[-length:] if length <= len(tail) else _read_at(file, size - length, size)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {_reason(error)}") from None


def parse_footer(footer: bytes, path: str) -> pq.FileMetaData:
    """What `read_footer_bytes` gave.

    Raises:
        ManifestError: it is not Parquet's.
    """
    return _open(footer, path).metadata


def _open(footer: bytes, path: str) -> pq.ParquetFile:
    """A file of magic and footer alone: no column can be read from it, only what the footer says.

    Its schema is asked of the file. A `FileMetaData` that was asked for it is in a circle with it, so that a large manifest's
    footers pile up until Python looks for circles.
    """
    try:
        return pq.ParquetFile(pa.BufferReader(_MAGIC + footer))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None


def read_footer(footer: bytes, path: str, *, statistics: bool = True) -> Footer:
    """What the footer of one of a manifest's files tells; see `read_footer_bytes`.

    Args:
        statistics: whether those of a file of other origin are looked at. pyarrow ends the process where such a footer is damaged in
            certain places; reading the columns themselves is an error that can be caught.

    Raises:
        ManifestError: the file is not Parquet, or is of a newer format.
    """
    opened = _open(footer, path)
    metadata = opened.metadata
    own = metadata.metadata or {}
    version = own.get(FORMAT_KEY, b"0")
    number = _number(version)
    if number is None or number > FORMAT_VERSION:
        raise ManifestError(
            f"{path} is of manifest format {_short(version)} and this wsc-ray reads up to "
            f"{FORMAT_VERSION}; upgrade it (the file is by {_short(own.get(CREATOR_KEY, b'?'))})"
        )
    columns = _columns(opened, path)
    wanted = own.get(CHECKSUM_KEY)
    if wanted is not None and wanted != footer_checksum(opened.schema_arrow, own):
        raise ManifestError(
            f"{path} is damaged, or was changed after it was written: its footer is not what it was; restore it, or import its source anew"
        )
    part, _, parts = own.get(PART_KEY, b"0/0").partition(b"/")
    groups = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    return Footer(
        columns=columns,
        digest=written_digest(metadata) or hashlib.sha256(footer).hexdigest(),
        version=number,
        part=_number(part) or 0,
        parts=_number(parts) or 0,
        groups=groups,
        mixed=_mixed(metadata) if number < 2 and statistics else (),
        runs=read_runs(metadata, path, statistics=statistics),
    )


def written_digest(metadata: pq.FileMetaData) -> str | None:
    """The SHA-256 (hex) of its rows that a file was written with; None where it has none."""
    found = (metadata.metadata or {}).get(DIGEST_KEY, b"")
    return found.decode() if _DIGEST.fullmatch(found) else None


def _columns(opened: pq.ParquetFile, path: str) -> tuple[str, ...]:
    try:
        names = opened.schema_arrow.names
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} has columns that cannot be read: {str(error).splitlines()[0]}") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ManifestError(f"{path} has several columns called {', '.join(twice[:5])}")
    return tuple(names)


def _number(text: bytes) -> int | None:
    """A whole number of up to nine digits, else None."""
    return int(text) if re.fullmatch(rb"[0-9]{1,9}", text) else None


def _short(text: bytes) -> str:
    return text[:40].decode(errors="replace")


def _mixed(metadata: pq.FileMetaData) -> tuple[int, ...]:
    """Row groups of which the statistics do not say that they have one split and one slide label."""
    return tuple(
        number
        for number in range(metadata.num_row_groups)
        if metadata.row_group(number).num_rows
        and any(only_value(metadata.row_group(number), name) is None for name in ("split", "label"))
    )


def join_digests(digests: Iterable[str]) -> str:
    """The digest of a manifest from those of its files, in order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read_at(file: pa.NativeFile, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]

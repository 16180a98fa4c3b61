"""Read the footers of a manifest's Parquet files; a run is planned from nothing else of these files."""

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

PATCHES = "patches"  # folder of the Parquet files inside a manifest's folder
_MAGIC = b"PAR1"
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_TAIL = 1 << 16  # bytes to read first: most footers are shorter, so that one request is enough


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: `file` is an index into the manifest's files, `row_group` one into the file's row groups."""

    file: int
    row_group: int
    rows: int


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of one file.

    Attributes:
        columns: names of the file's columns.
        digest: SHA-256 (hex) of its rows, or of the footer in a file of another program.
        version: format version; 0 in a file of another program.
        part, parts: the file is number `part`, from 1, of the manifest's `parts` files; both 0 in a file of another program.
        groups: number of rows of each row group.
        mixed: row groups that hold, or may hold, more than one split or slide label, where rows hold these (format 1).
        runs: which rows belong to which slide; None where the footer does not say it.
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
    def rows_describe_slides(self) -> bool:
        """Whether rows repeat patient, label and split of their slides: in format 1 and in files of other programs."""
        return self.version < 2


def find_files(filesystem: fs.FileSystem, path: str, uri: str) -> list[str]:
    """Return the Parquet files of a manifest, in order: a file, `<path>/patches/*.parquet`, or `<path>/**/*.parquet`.

    Hidden files and folders (`.name`, `_name`) are left out, as Parquet readers do.

    Raises:
        ManifestError: `path` does not exist or holds no Parquet file.
    """
    try:
        kind = filesystem.get_file_info(path).type
        if kind == fs.FileType.File:
            return [path]
        inner = f"{path.rstrip('/')}/{PATCHES}"
        root = inner if filesystem.get_file_info(inner).type == fs.FileType.Directory else path
        content = filesystem.get_file_info(fs.FileSelector(root, recursive=root == path, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{uri} cannot be read: {_reason(error)}") from None
    if kind == fs.FileType.NotFound and not content:
        raise ManifestError(f"{uri} does not exist; give the folder of a manifest, or Parquet files")
    inside = len(root.rstrip("/")) + 1
    files = [
        info.path
        for info in content
        if info.type == fs.FileType.File
        and info.path.endswith(".parquet")
        and not any(part.startswith((".", "_")) for part in info.path[inside:].split("/"))
    ]
    if not files:
        raise ManifestError(f"{uri} holds no .parquet file; give the folder that `wsc-ray manifest import` wrote")
    return sorted(files)


def read_footer_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    """Return a Parquet file's footer with its length and magic; of a long file nothing else is read.

    Raises:
        ManifestError: the file cannot be read or is not whole.
    """
    try:
        with filesystem.open_input_file(path) as file:
            size = file.size()
            tail = _read_at(file, max(0, size - _TAIL), size)
            length = struct.unpack("<I", tail[-8:-4])[0] + 8 if size >= 12 else 0
            if tail[-4:] != _MAGIC or not 12 <= length <= size:
                raise ManifestError(f"{path} is not a whole Parquet file; write it again, or delete it")
            return tail[-length:] if length <= len(tail) else _read_at(file, size - length, size)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {_reason(error)}") from None


def parse_footer(footer: bytes, path: str) -> pq.FileMetaData:
    """Return the metadata in a footer that `read_footer_bytes` returned.

    Raises:
        ManifestError: it is not a footer of Parquet.
    """
    return _open(footer, path).metadata


def _open(footer: bytes, path: str) -> pq.ParquetFile:
    """Return a file that consists of magic and footer only, so that its metadata and schema can be read but no column.

    Read the schema from this file and not from its `FileMetaData`, which would then form a reference cycle with the
    schema: the footers of a large manifest would pile up until Python collects cycles.
    """
    try:
        return pq.ParquetFile(pa.BufferReader(_MAGIC + footer))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None


def read_footer(footer: bytes, path: str, *, statistics: bool = True) -> Footer:
    """Return the content of a footer that `read_footer_bytes` returned.

    Args:
        statistics: whether to use the statistics in a file of another program. pyarrow ends the process where these are
            damaged in certain places; without them, reading the columns raises an error that can be caught.

    Raises:
        ManifestError: the file is not Parquet, is damaged, or has a newer format.
    """
    opened = _open(footer, path)
    metadata = opened.metadata
    own = metadata.metadata or {}
    version = own.get(FORMAT_KEY, b"0")
    number = _number(version)
    if number is None or number > FORMAT_VERSION:
        raise ManifestError(
            f"{path} has manifest format {_short(version)} and this wsc-ray reads up to "
            f"{FORMAT_VERSION}; upgrade it (the file was written by {_short(own.get(CREATOR_KEY, b'?'))})"
        )
    columns = _columns(opened, path)
    wanted = own.get(CHECKSUM_KEY)
    if wanted is not None and wanted != footer_checksum(opened.schema_arrow, own):
        raise ManifestError(
            f"{path} is damaged, or was changed after it was written: its footer does not have its checksum; restore it, or import its source anew"
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
    """Return the SHA-256 (hex) of its rows that a file was written with; None where it has none."""
    digest = (metadata.metadata or {}).get(DIGEST_KEY, b"")
    return digest.decode() if _DIGEST.fullmatch(digest) else None


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
    """Return a whole number of up to nine digits, else None."""
    return int(text) if re.fullmatch(rb"[0-9]{1,9}", text) else None


def _short(text: bytes) -> str:
    """Return the beginning of a text that anybody may have written, without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text[:40].decode(errors="replace"))


def _mixed(metadata: pq.FileMetaData) -> tuple[int, ...]:
    """Return the row groups whose statistics do not show that they have one split and one slide label."""
    return tuple(
        number
        for number in range(metadata.num_row_groups)
        if metadata.row_group(number).num_rows
        and any(only_value(metadata.row_group(number), name) is None for name in ("split", "label"))
    )


def join_digests(digests: Iterable[str]) -> str:
    """Return the digest of a manifest, made from the digests of its files, in order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read_at(file: pa.NativeFile, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]

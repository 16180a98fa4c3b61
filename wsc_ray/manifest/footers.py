"""What the footers of a manifest's Parquet files tell: nothing else of them is read to plan a run."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from wsc_ray.errors import ManifestError
from wsc_ray.manifest.schema import CREATOR_KEY, DIGEST_KEY, FORMAT_KEY, FORMAT_VERSION, PART_KEY

PATCHES = "patches"  # the folder inside a manifest's folder where its Parquet files lie
_MAGIC = b"PAR1"
_TAIL = 1 << 16  # bytes read first: most footers are shorter, so one request is enough


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of one split and one slide label; `file` counts the manifest's files, `row_group` those of the file."""

    file: int
    row_group: int
    rows: int
    split: str
    label: str


@dataclass(frozen=True, slots=True)
class Footer:
    """One file: its columns, its content's digest, and `part` of `parts` (0 of 0 in a file of other origin).

    Attributes:
        groups: (rows, split, label) of each row group; split and label are None where the row group holds several,
            or where the statistics do not tell.
    """

    columns: tuple[str, ...]
    digest: str
    part: int
    parts: int
    groups: tuple[tuple[int, str | None, str | None], ...]


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
    try:
        # A file of magic and footer alone: no column can be read from it, only what the footer says.
        return pq.read_metadata(pa.BufferReader(_MAGIC + footer))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None


def read_footer(footer: bytes, path: str) -> Footer:
    """What the footer of one of a manifest's files tells; see `read_footer_bytes`.

    Raises:
        ManifestError: the file is not Parquet, or is of a newer format.
    """
    metadata = parse_footer(footer, path)
    own = metadata.metadata or {}
    version = own.get(FORMAT_KEY)
    if version is not None and (not version.isdigit() or int(version) > FORMAT_VERSION):
        raise ManifestError(
            f"{path} is of manifest format {version.decode(errors='replace')} and this wsc-ray reads up to "
            f"{FORMAT_VERSION}; upgrade it (the file is by {own.get(CREATOR_KEY, b'?').decode(errors='replace')})"
        )
    columns = tuple(metadata.schema.to_arrow_schema().names)
    part, _, parts = own.get(PART_KEY, b"0/0").decode(errors="replace").partition("/")
    places = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        split, label = (only_value(group, places.get(name)) for name in ("split", "label"))
        groups.append((group.num_rows, split, label))
    return Footer(
        columns=columns,
        digest=own[DIGEST_KEY].decode() if DIGEST_KEY in own else hashlib.sha256(footer).hexdigest(),
        part=int(part) if part.isdigit() else 0,
        parts=int(parts) if parts.isdigit() else 0,
        groups=tuple(groups),
    )


def join_digests(digests: Iterable[str]) -> str:
    """The digest of a manifest from those of its files, in order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def only_value(group: pq.RowGroupMetaData, column: int | None) -> str | None:
    """The one value that all rows of a row group have in a column, by its statistics."""
    if column is None:
        return None
    statistics = group.column(column).statistics
    if statistics is None or not statistics.has_min_max or (statistics.has_null_count and statistics.null_count):
        return None
    low, high = statistics.min, statistics.max
    if low != high:
        return None
    return low.decode(errors="replace") if isinstance(low, bytes) else str(low)


def _read_at(file: pa.NativeFile, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]

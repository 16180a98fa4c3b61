"""Read the encoded images of an import's source, for one part of the manifest at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsc_ray.errors import ManifestError
from wsc_ray.manifest import footers
from wsc_ray.manifest.read import Manifest
from wsc_ray.pixels import PixelSource, Unreadable

_BATCH = 1024  # rows of a source to decode from Parquet at a time; bounds memory for row groups of any size
_FILES = 256  # image files to read at a time, so that an error names the first bad one soon


class Images(Protocol):
    """The images of a source, by row number."""

    def read(self, rows: np.ndarray, advance: Callable[[int], None] = ...) -> list[bytes]:
        """Return the encoded images of `rows` (n,), in that order.

        Args:
            advance: called with the number of images that were read since its last call.

        Raises:
            ManifestError: an image is null, missing or cannot be read; the error names its row.
        """
        ...


def _ignore(count: int) -> None:
    pass


class ParquetImages:
    """Images in a column of Parquet files. A call reads only the row groups that hold wanted rows, each once.

    The column may hold bytes, lists of uint8, or structs with a field `bytes`, as Hugging Face data sets have.
    """

    def __init__(self, source: Manifest, column: str):
        self.source, self.column = source, column
        groups = [
            (file, number, rows)
            for file, footer in enumerate(source.file_footers)
            for number, rows in enumerate(footer.groups)
        ]
        self.groups = np.array(groups, dtype=np.int64).reshape(-1, 3)  # (row groups, 3): file, row group, rows
        self.ends = np.cumsum(self.groups[:, 2])

    def problem(self) -> str | None:
        """Return why the column cannot hold images, by its type in the first file; None where it can."""
        path = self.source.files[0]
        footer = footers.parse_footer(footers.read_footer_bytes(self.source.filesystem, path), path)
        return _not_images(self.column, footer.schema.to_arrow_schema().field(self.column).type)

    def read(self, rows: np.ndarray, advance: Callable[[int], None] = _ignore) -> list[bytes]:
        images: list[bytes] = [b""] * len(rows)
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        group_of = np.searchsorted(self.ends, wanted, side="right")
        for file in np.unique(self.groups[group_of, 0]):
            path = self.source.files[file]
            try:
                with pq.ParquetFile(path, filesystem=self.source.filesystem, pre_buffer=False) as opened:
                    for group in np.unique(group_of[self.groups[group_of, 0] == file]):
                        inside = np.flatnonzero(group_of == group)
                        start = self.ends[group] - self.groups[group, 2]
                        self._read_group(opened, int(group), wanted[inside] - start, order[inside], images, int(start))
                        advance(len(inside))
            except (OSError, pa.ArrowException) as error:
                raise ManifestError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        return images

    def _read_group(
        self,
        opened: pq.ParquetFile,
        group: int,
        wanted: np.ndarray,
        places: np.ndarray,
        images: list[bytes],
        start: int,
    ) -> None:
        """Write the images of rows `wanted` (inside the row group, ascending) to indices `places` of `images`."""
        first = 0
        number = int(self.groups[group, 1])
        for batch in opened.iter_batches(
            batch_size=_BATCH, row_groups=[number], columns=[self.column], use_threads=False
        ):
            here = slice(*np.searchsorted(wanted, [first, first + batch.num_rows]))
            if here.stop > here.start:
                column = batch.column(0)
                wrong = _not_images(self.column, column.type)  # files may differ
                if wrong:
                    raise ManifestError(f"row {start} and on: {wrong}")
                if pa.types.is_struct(column.type):
                    column = pc.struct_field(column, "bytes")
                values = column.take(pa.array(wanted[here] - first)).to_pylist()
                for place, row, value in zip(places[here], wanted[here], values, strict=True):
                    if not value:
                        raise ManifestError(f"row {start + row} has no image: `{self.column}` is null or empty")
                    images[place] = bytes(value)
            first += batch.num_rows


def _not_images(column: str, kind: pa.DataType) -> str | None:
    """Return the problem of an image column whose type holds no bytes; None where it does."""
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value):
        return (
            f"`image`: the column `{column}` holds text, not the bytes of image files; if the text is paths or URIs, give it as "
            f"`image_uri` (--column image_uri={column}); base64 must be decoded to bytes first"
        )
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
        pa.types.is_null,
    )
    if any(test(value) for test in tests) or (hasattr(value, "value_type") and pa.types.is_uint8(value.value_type)):
        return None
    return f"`image`: the column `{column}` holds {kind}, not the bytes of image files"


@dataclass(frozen=True)
class UriImages:
    """Images in files of their own.

    Attributes:
        uris: the URI of each row.
        folder: the folder where relative URIs start.
        describe: row -> its place in the user's source, for errors.
    """

    uris: Sequence[str]
    folder: str
    describe: Callable[[int], str]

    def read(self, rows: np.ndarray, advance: Callable[[int], None] = _ignore) -> list[bytes]:
        source = PixelSource(["image_uri"], self.folder)
        images: list[bytes] = []
        for start in range(0, len(rows), _FILES):
            part = rows[start : start + _FILES].tolist()
            for row, image in zip(part, source.fetch([{"image_uri": self.uris[row]} for row in part]), strict=True):
                if isinstance(image, Unreadable):
                    raise ManifestError(f"{self.describe(row)}: {image.reason}")
                assert isinstance(image, bytes)  # the undecoded file
                images.append(image)
            advance(len(part))
        return images

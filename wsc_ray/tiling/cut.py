"""Write one file of the manifest in one step: its patches, read from their slides and encoded; or, linked, rows that point into the
slides, without reading them.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import simplejpeg
from pyarrow import fs

from wsc_ray.errors import DataError
from wsc_ray.files import atomic
from wsc_ray.manifest.schema import conform, schema_for
from wsc_ray.manifest.write import Span, write_file
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.patches import Square, read_patches
from wsc_ray.slides.scale import Scale
from wsc_ray.storage import AnyPath


@dataclass(frozen=True)
class PatchFile:
    """A file to write.

    Attributes:
        path: its path.
        number, parts: its number, from 1, and the number of files.
        table: its rows, without pixels.
        slide: for each row a key of `slides`, (n,) int64.
        spans: the rows of each row group.
        slides: path of each slide, and scale at which its patches are read.
        reader: name of the slide reader.
        quality: quality of the JPEGs, 1 to 100; None if rows point into the slides.
        unreadable: path of a table of the patches that cannot be read and are left out; None if such patches are an error.
    """

    path: AnyPath
    number: int
    parts: int
    table: pa.Table
    slide: np.ndarray
    spans: Sequence[Span]
    slides: Mapping[int, tuple[AnyPath, Scale]]
    reader: str
    quality: int | None
    unreadable: AnyPath | None


@dataclass(frozen=True)
class Unreadable:
    """A patch that is left out of its file."""

    slide_id: str
    x: int
    y: int
    reason: str


def cut(patch_file: PatchFile) -> int:
    """Write the file, and return the number of its patches.

    Raises:
        DataError: patches cannot be read, and may not be left out.
    """
    bad: list[Unreadable] = []
    linked = patch_file.quality is None
    schema = schema_for([*patch_file.table.column_names, "slide_uri" if linked else "image"])
    rows = patch_file.table.num_rows
    with atomic(patch_file.path) as temporary:
        groups = _links(patch_file) if linked else (group for group in _groups(patch_file, bad) if group.num_rows)
        write_file(fs.LocalFileSystem(), str(temporary), schema, groups, part=patch_file.number, parts=patch_file.parts)
        if bad and patch_file.unreadable is None:
            first = bad[0]
            raise DataError(
                f"{len(bad):,} of {rows:,} patches cannot be read, the first one of slide {first.slide_id}: {first.reason}"
            )
        if bad and patch_file.unreadable is not None:
            _write_unreadable(patch_file.unreadable, bad)
    return rows - len(bad)


def _write_unreadable(path: AnyPath, bad: Sequence[Unreadable]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["slide_id", "x", "y", "reason"])
        writer.writerows([each.slide_id, each.x, each.y, each.reason] for each in bad)


def _links(patch_file: PatchFile) -> Iterator[pa.Table]:
    """Yield the row groups, without pixels."""
    uris = {slide: str(path) for slide, (path, _) in patch_file.slides.items()}
    column = pa.array([uris[slide] for slide in patch_file.slide.tolist()], pa.string())
    table = patch_file.table.append_column("slide_uri", column)
    return (conform(table.slice(start, stop - start)) for start, stop in patch_file.spans)


def _groups(patch_file: PatchFile, bad: list[Unreadable]) -> Iterator[pa.Table]:
    """Yield the row groups, each made when it is needed; the images of one are in memory at a time."""
    images = _images(patch_file)
    for start, stop in patch_file.spans:
        rows = patch_file.table.slice(start, stop - start)
        group = list(itertools.islice(images, stop - start))
        for row, image in enumerate(group):
            if isinstance(image, DataError):
                slide_id, x, y = (rows[name][row].as_py() for name in ("slide_id", "x", "y"))
                bad.append(Unreadable(slide_id, x, y, str(image)))
        column = pa.array([None if isinstance(image, DataError) else image for image in group], pa.binary())
        yield conform(rows.append_column("image", column).filter(column.is_valid()))


def _images(patch_file: PatchFile) -> Iterator[bytes | DataError]:
    """Yield the image of each row in order, or the reason why it is missing. Rows of a slide are neighbours, so that each slide is opened once."""
    assert patch_file.quality is not None
    corners = np.stack([patch_file.table[name].to_numpy() for name in ("x", "y")], axis=1)
    for slide, rows in itertools.groupby(range(len(corners)), patch_file.slide.tolist().__getitem__):
        path, scale = patch_file.slides[slide]
        places = corners[list(rows)].tolist()
        try:
            opened = open_slide(path, patch_file.reader)
        except DataError as error:
            yield from [error] * len(places)
            continue
        with contextlib.closing(opened):
            for patch in read_patches(opened, [Square(x, y, scale.level, scale.read, scale.size) for x, y in places]):
                yield patch if isinstance(patch, DataError) else encode(patch, patch_file.quality)


def encode(patch: np.ndarray, quality: int) -> bytes:
    """Return a patch as JPEG. Above quality 90 colour is not subsampled, since stains differ only in colour."""
    subsampling = "444" if quality > 90 else "420"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(patch), quality=quality, colorsubsampling=subsampling)

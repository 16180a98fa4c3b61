"""Pixel sources, which return an image or a reason for each row of a manifest.

A manifest says in one of three columns where pixels are, and each column has a source here (`SOURCES`). All sources are
used in one way: fetch many rows together, try again where storage failed, decode, and return a reason in place of an
image that cannot be read. No error is raised for a single patch: the caller decides whether another patch stands in for
it, or whether to raise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.pixels.images import decode
from wsc_ray.pixels.regions import read_rows
from wsc_ray.pixels.retry import THREADS, read_all
from wsc_ray.pixels.uris import read_uri

Row = Mapping[str, Any]  # a row of a manifest: column -> value


@dataclass(frozen=True)
class Unreadable:
    """Takes the place of an image that cannot be read; `reason` is a sentence that says why."""

    reason: str


Fetched = bytes | np.ndarray | Unreadable  # an encoded image, a decoded one, (h, w, 3) uint8, RGB, or a reason
ReadAll = Callable[[Iterable[Any], Callable[[Any], Any]], tuple[dict[Any, Any], dict[Any, str]]]  # see `read_all`


class ColumnSource(Protocol):
    """The source of one pixel column.

    Args:
        folder: a path or URI where relative URIs start.
        read_all: reads many keys together, with retries.

    Attributes:
        columns: columns of the manifest that it needs, the pixel column among them.
        optional: columns that it uses where the manifest has them.
    """

    columns: tuple[str, ...]
    optional: tuple[str, ...]

    def __init__(self, folder: str, read_all: ReadAll): ...

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        """Return the image of each row, in order; the source's pixel column is not null in any of the rows."""
        ...


class EmbeddedImages:
    """`image`: encoded files inside the manifest."""

    columns: tuple[str, ...] = ("image",)
    optional: tuple[str, ...] = ()

    def __init__(self, folder: str, read_all: ReadAll):
        pass

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        return [row["image"] for row in rows]


class ImageFiles:
    """`image_uri`: one file or object for each patch."""

    columns: tuple[str, ...] = ("image_uri",)
    optional: tuple[str, ...] = ()

    def __init__(self, folder: str, read_all: ReadAll):
        self._folder, self._read_all = folder, read_all

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        uris = [row["image_uri"] for row in rows]
        images, failed = self._read_all(range(len(uris)), lambda number: read_uri(uris[number], self._folder))
        return [images[number] if number in images else Unreadable(failed[number]) for number in range(len(uris))]


class SlideRegions:
    """`slide_uri`: regions of slides, see `regions`; `fetch` returns them decoded."""

    columns: tuple[str, ...] = ("slide_uri", "x", "y", "level", "patch_size")
    optional: tuple[str, ...] = ("patch_size_level0",)

    def __init__(self, folder: str, read_all: ReadAll):
        self._folder, self._read_all = folder, read_all

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        patches = read_rows(rows, self._folder, self._read_all)
        return [Unreadable(patch) if isinstance(patch, str) else patch for patch in patches]


# Pixel column -> its source. The first of these columns that is not null in a row is read.
SOURCES: dict[str, type[ColumnSource]] = {"image": EmbeddedImages, "image_uri": ImageFiles, "slide_uri": SlideRegions}


class PixelSource:
    """Reads the pixels of a manifest's rows.

    Args:
        columns: columns of the manifest, or those to read from it; the pixel columns among them decide on the sources.
        folder: a path or URI where relative URIs start, see `Manifest.folder`.
        retries: number of retries where storage fails, see `read_all`.
        threads: number of threads that read at a time.
        sleep: waits some seconds before a retry.

    Attributes:
        columns: columns that rows must have to be read.
    """

    def __init__(
        self,
        columns: Sequence[str],
        folder: str,
        *,
        retries: int = 0,
        threads: int = THREADS,
        sleep: Callable[[float], None] = time.sleep,
    ):
        tries = partial(read_all, retries=retries, threads=threads, sleep=sleep)
        self._sources = {name: source(folder, tries) for name, source in SOURCES.items() if name in columns}
        used = [(*source.columns, *(set(source.optional) & set(columns))) for source in self._sources.values()]
        self.columns = tuple(dict.fromkeys(name for names in used for name in names))

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        """Return each row's image, in order; encoded images stay encoded, which takes a tenth of the memory."""
        *others, last = SOURCES
        nothing = f"the patch has no pixels: {', '.join(others)} and {last} are all null or not read"
        fetched: list[Fetched] = [Unreadable(nothing)] * len(rows)
        left = list(range(len(rows)))
        for column, source in self._sources.items():
            here = [row for row in left if rows[row].get(column) is not None]
            for row, image in zip(here, source.fetch([rows[row] for row in here]), strict=True):
                fetched[row] = image
            left = [row for row in left if rows[row].get(column) is None]
        return fetched

    def read(self, rows: Sequence[Row]) -> Iterator[np.ndarray | Unreadable]:
        """Yield each row's image, (h, w, 3) uint8, RGB, or the reason why it cannot be read, in order.

        All rows are fetched at once; images are decoded one by one, when they are taken.
        """
        return map(to_image, self.fetch(rows))


def to_image(fetched: Fetched) -> np.ndarray | Unreadable:
    """Return a fetched image decoded, (h, w, 3) uint8, RGB, or the reason why it cannot be."""
    if isinstance(fetched, (np.ndarray, Unreadable)):
        return fetched
    try:
        return decode(fetched)
    except DataError as error:
        return Unreadable(str(error))

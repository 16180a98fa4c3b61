"""Pixel sources: rows of a manifest in, an image or a reason for each out.

A manifest says in one of three columns where pixels are, and each column has a source here (`SOURCES`). All of them are
used in one way: fetch many rows together, try storage again where it failed, decode, and give a reason in place of an
image that cannot be had. Nothing is raised for a single patch: who reads decides whether another stands in for it, or
whether it is an error.
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

Row = Mapping[str, Any]  # of a manifest: column -> value


@dataclass(frozen=True)
class Unreadable:
    """Stands where an image should, and says why there is none, in a sentence."""

    reason: str


Fetched = bytes | np.ndarray | Unreadable  # an encoded image, or one that comes decoded: (h, w, 3) uint8, RGB
ReadAll = Callable[[Iterable[Any], Callable[[Any], Any]], tuple[dict[Any, Any], dict[Any, str]]]  # see `read_all`


class ColumnSource(Protocol):
    """What one pixel column means.

    Args:
        folder: a path or URI where relative URIs start.
        read_all: reads many keys together, with the retries that were asked for.

    Attributes:
        columns: of the manifest that it reads, its own and others.
        optional: others that it reads where the manifest has them.
    """

    columns: tuple[str, ...]
    optional: tuple[str, ...]

    def __init__(self, folder: str, read_all: ReadAll): ...

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        """What belongs to each row, in order; the source's own column is null in none of them."""
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
    """`image_uri`: a file or object for each patch."""

    columns: tuple[str, ...] = ("image_uri",)
    optional: tuple[str, ...] = ()

    def __init__(self, folder: str, read_all: ReadAll):
        self._folder, self._read_all = folder, read_all

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        uris = [row["image_uri"] for row in rows]
        found, failed = self._read_all(range(len(uris)), lambda number: read_uri(uris[number], self._folder))
        return [found[number] if number in found else Unreadable(failed[number]) for number in range(len(uris))]


class SlideRegions:
    """`slide_uri`: regions of slides, see `regions`; they come decoded."""

    columns: tuple[str, ...] = ("slide_uri", "x", "y", "level", "patch_size")
    optional: tuple[str, ...] = ("patch_size_level0",)

    def __init__(self, folder: str, read_all: ReadAll):
        self._folder, self._read_all = folder, read_all

    def fetch(self, rows: Sequence[Row]) -> list[Fetched]:
        found = read_rows(rows, self._folder, self._read_all)
        return [Unreadable(each) if isinstance(each, str) else each for each in found]


# Pixel column -> its source. A row that has several is read by the first.
SOURCES: dict[str, type[ColumnSource]] = {"image": EmbeddedImages, "image_uri": ImageFiles, "slide_uri": SlideRegions}


class PixelSource:
    """The pixels of a manifest's rows.

    Args:
        columns: the manifest's, or those that may be read of it; the pixel columns among them decide.
        folder: a path or URI where relative URIs start, see `Manifest.folder`.
        retries: further tries where storage fails, see `read_all`.
        threads: that read at a time.
        sleep: waits before a further try.

    Attributes:
        columns: what rows must hold to be read.
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
        """Each row's image as storage has it, in order: encoded ones, which take a tenth of the memory, are not decoded."""
        *others, last = SOURCES
        nothing = f"the patch has no pixels: {', '.join(others)} and {last} are all null or not read"
        fetched: list[Fetched] = [Unreadable(nothing)] * len(rows)
        left = list(range(len(rows)))
        for column, source in self._sources.items():
            here = [row for row in left if rows[row].get(column) is not None]
            for row, one in zip(here, source.fetch([rows[row] for row in here]), strict=True):
                fetched[row] = one
            left = [row for row in left if rows[row].get(column) is None]
        return fetched

    def read(self, rows: Sequence[Row]) -> Iterator[np.ndarray | Unreadable]:
        """Each row's image, (h, w, 3) uint8, RGB, or why there is none, in order.

        All rows are fetched at once; images are decoded one at a time, as they are asked for.
        """
        return map(to_image, self.fetch(rows))


def to_image(fetched: Fetched) -> np.ndarray | Unreadable:
    """What has been fetched as an image, (h, w, 3) uint8, RGB, or why that cannot be."""
    if isinstance(fetched, (np.ndarray, Unreadable)):
        return fetched
    try:
        return decode(fetched)
    except DataError as error:
        return Unreadable(str(error))

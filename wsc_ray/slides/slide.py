"""The interface of slide readers, and the choice of a reader.

A reader is one file of `wsc_ray/slides/readers/`, or of a plug-in: a subclass of `Slide` with a name in the registry. JPEG decoders
round differently, so that a whole manifest is cut with one reader. `stored-tiles` rounds as OpenSlide does.
"""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.registry import Registry
from wsc_ray.storage import StoragePath


class Region(NamedTuple):
    """A rectangle of a slide: its upper left corner (x, y) in level-0 px, and its width and height in px of `level`."""

    x: int
    y: int
    level: int
    width: int
    height: int


class Slide(ABC):
    """An open slide. A reader is a subclass whose constructor opens the file at a path, and raises `DataError` if it cannot.

    Attributes:
        size: width and height at level 0, px.
        downsamples: downsample of each level, 1.0 for the first; `inf` for a level that must not be read, see `pyramid`.
        mpp: um/px of level 0 in x and y according to the file; None if the file does not give it.
        scanned: x, y, width and height of the scanned part, level-0 px.
        package: name of the Python module that the reader needs; set by the class.
        title: name of that package for people; set by the class.
        extra: the extra of wsc-ray that installs it; None if there is none.
    """

    package: ClassVar[str]
    title: ClassVar[str]
    extra: ClassVar[str | None] = None

    size: tuple[int, int]
    downsamples: tuple[float, ...]
    mpp: tuple[float, float] | None
    scanned: tuple[int, int, int, int]

    @abstractmethod
    def __init__(self, path: Path): ...

    @abstractmethod
    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        """Return the region of `width` x `height` px of `level` whose upper left corner is (x, y) in level-0 px; (h, w, 3) uint8,
        RGB, white where nothing was scanned.

        Raises:
            DataError: the region cannot be read.
        """

    def read_regions(self, regions: Sequence[Region]) -> Iterator[np.ndarray | DataError]:
        """Yield several regions in order, each read when it is needed; instead of one that cannot be read, yield the reason.

        A reader that gains from reading neighbours together overrides this method, which knows all regions to come.
        """
        for region in regions:
            try:
                yield self.read(*region)
            except DataError as error:
                yield error

    @abstractmethod
    def close(self) -> None:
        """Close the file; closing it again does nothing."""

    @classmethod
    def of_object(cls, path: StoragePath) -> Slide | None:
        """Open a slide on an object store by ranges of bytes; return None if the reader needs a copy on a disk, as most do.

        Raises:
            DataError: the object is missing or cannot be read.
        """
        return None

    @classmethod
    def installed(cls) -> bool:
        """Return whether the reader's package is installed."""
        return importlib.util.find_spec(cls.package) is not None


READERS: Registry[type[Slide]] = Registry("slide reader", "wsc_ray.slides.readers")
ASPECT, ROUNDED = 0.02, 2  # a relative difference, and px of a level; see `pyramid`
AUTO = ("stored-tiles", "openslide", "cucim")  # `auto` takes the first of these that is installed
MAX_SLIDE, MAX_TILE = 2**37, 2**28  # px: a header can claim more than scanners make or memory holds


def choose_reader(name: str) -> str:
    """Return the name of the reader to use: `name`, or for `auto` the first of `AUTO` that is installed.

    Raises:
        DataError: the reader is not installed, or no reader has that name.
    """
    if name != "auto" and name not in READERS:
        raise DataError(f"--reader {name}: {READERS.missing(name)}, or auto")
    names = AUTO if name == "auto" else (name,)
    for each in names:
        if READERS[each].installed():
            return each
    kinds = [READERS[each] for each in names if name != "auto" or each != "stored-tiles"]  # OpenSlide and more
    extras = [f"`pip install 'wsc-ray[{kind.extra}]'` installs {kind.title}" for kind in kinds if kind.extra]
    raise DataError("; ".join([f"{' or '.join(kind.title for kind in kinds)} is not installed", *extras]))


def pyramid(sizes: Sequence[tuple[int, int]], downsamples: Sequence[float]) -> tuple[float, ...]:
    """Return the downsamples of a file's levels, `inf` for levels that are no smaller picture of level 0.

    Some files hold pictures of the label or of the whole glass among their levels, and a library that averages over x and y gives
    these a downsample. A level is a smaller picture of level 0 if its downsamples in x and y are equal up to a relative difference of
    `ASPECT`, or up to `ROUNDED` px of the level: scanners round, and pad to whole tiles.

    Args:
        sizes: width and height of each level, px; level 0 first.
        downsamples: downsample of each level, as the library gives it.
    """
    (width, height), *_ = sizes
    found = []
    for (w, h), downsample in zip(sizes, downsamples, strict=True):
        x, y = width / w, height / h
        px = min(abs(w - width / y), abs(h - height / x))  # by which the level misses the aspect ratio of level 0
        found.append(float(downsample) if abs(x - y) <= ASPECT * max(x, y) or px <= ROUNDED else math.inf)
    return tuple(found)


def on_white(region: np.ndarray) -> np.ndarray:
    """Return a region (h, w, 4) or (h, w, 3) uint8 as (h, w, 3); transparent px, which were not scanned, become white."""
    if region.shape[-1] == 3:
        return region
    # Most regions are opaque. One reduction over all px, and OpenCV's conversion, take less time than Pillow's.
    if int(np.bitwise_and.reduce(region.view("<u4"), axis=None)) >> 24 == 255:
        return cv2.cvtColor(region, cv2.COLOR_RGBA2RGB)
    colour, alpha = region[..., :3], region[..., 3:]
    # Alpha is 0 or 255 except at the edges of a scan, so that it makes no difference whether a library premultiplies by alpha.
    return (colour.astype(np.uint16) * alpha // 255 + (255 - alpha)).astype(np.uint8)

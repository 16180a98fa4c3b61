"""An open slide file: what every reader of slides gives, and which reader is taken.

A reader is one file of `wsc_ray/slides/readers/`, or of a plug-in: a `Slide` with a name in the registry. JPEG decoders
round differently, so that a manifest is cut by one reader throughout; `stored-tiles` rounds as OpenSlide does.
"""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.registry import Registry


class Region(NamedTuple):
    """A rectangle of a slide: its upper left corner (x, y) in level-0 px, its width and height in px of `level`."""

    x: int
    y: int
    level: int
    width: int
    height: int


class Slide(ABC):
    """An open slide. A reader is a subclass that opens the file of a path, and raises `DataError` where it cannot.

    Attributes:
        size: width and height at level 0, px.
        downsamples: of each level, 1.0 the first; `inf` for one that must not be read, see `pyramid`.
        mpp: what the file says of level 0 in x and y, um/px; None where it says nothing.
        scanned: x, y, width, height of the part that was scanned, level-0 px.
        package: the Python package that the reader needs, in a class.
        title: what people call that package.
        extra: the extra of wsc-ray that installs it; None where none does.
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
        """The region whose upper left corner is (x, y), level-0 px, `width` x `height` px of `level`; (h, w, 3) uint8,
        RGB, white where nothing was scanned.

        Raises:
            DataError: it cannot be read.
        """

    def read_regions(self, regions: Sequence[Region]) -> Iterator[np.ndarray | DataError]:
        """Several regions, in order, each when it is asked for; in place of one that cannot be read, the reason.

        A reader that can read neighbours together does so here: it knows which regions are to come.
        """
        for region in regions:
            try:
                yield self.read(*region)
            except DataError as error:
                yield error

    @abstractmethod
    def close(self) -> None:
        """Close the file; once more does nothing."""

    @classmethod
    def installed(cls) -> bool:
        """Whether what it needs is installed."""
        return importlib.util.find_spec(cls.package) is not None


READERS: Registry[type[Slide]] = Registry("slide reader", "wsc_ray.slides.readers")
ASPECT, ROUNDED = 0.02, 2  # a share, and px of a level; see `pyramid`
AUTO = ("stored-tiles", "openslide", "cucim")  # the first of these that is installed
MAX_SLIDE, MAX_TILE = 2**37, 2**28  # px: a header can claim more than any scanner makes, or any memory holds


def choose_reader(name: str) -> str:
    """The reader of that name; of `auto` the first of `AUTO` that is installed.

    Raises:
        DataError: it is not installed, or no reader of that name is known.
    """
    if name != "auto" and name not in READERS:
        raise DataError(f"--reader {name}: {READERS.missing(name)}, or auto")
    names = AUTO if name == "auto" else (name,)
    for each in names:
        if READERS[each].installed():
            return each
    kinds = [READERS[each] for each in names if name != "auto" or each != "stored-tiles"]  # which is OpenSlide and more
    extras = [f"`pip install 'wsc-ray[{kind.extra}]'` installs {kind.title}" for kind in kinds if kind.extra]
    raise DataError("; ".join([f"{' or '.join(kind.title for kind in kinds)} is not installed", *extras]))


def open_slide(path: Path, reader: str) -> Slide:
    """Open a slide file with the reader of that name.

    Raises:
        DataError: it is missing, damaged, of a format that the reader does not know, or larger than any slide.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there")
    slide = READERS[reader](path)
    width, height = slide.size
    if width * height > MAX_SLIDE:
        slide.close()
        raise DataError(f"{path} says it is {width:,} x {height:,} px, more than any scanner makes")
    return slide


def pyramid(sizes: Sequence[tuple[int, int]], downsamples: Sequence[float]) -> tuple[float, ...]:
    """The downsamples of a file's levels, `inf` for those that are no smaller picture of level 0.

    Files hold pictures of the label or of the whole glass among their levels, and a reader that averages over x and y gives
    them a downsample. A level is a smaller picture where it is smaller by the same in x and in y, but for `ASPECT` and for
    `ROUNDED` px of its own: scanners round, and pad to whole tiles.

    Args:
        sizes: width and height of each level, px; level 0 first.
        downsamples: of each level, as the reader gives them.
    """
    (width, height), *_ = sizes
    found = []
    for (w, h), downsample in zip(sizes, downsamples, strict=True):
        x, y = width / w, height / h
        px = min(abs(w - width / y), abs(h - height / x))  # that the level lacks to the aspect of level 0
        found.append(float(downsample) if abs(x - y) <= ASPECT * max(x, y) or px <= ROUNDED else math.inf)
    return tuple(found)


def on_white(region: np.ndarray) -> np.ndarray:
    """(h, w, 4) or (h, w, 3) uint8 to (h, w, 3): what is transparent, since it was not scanned, becomes white."""
    if region.shape[-1] == 3:
        return region
    colour, alpha = region[..., :3], region[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    # Premultiplied or not, both libraries give fully seen or fully unseen px but at the edges of a scan.
    return (colour.astype(np.uint16) * alpha // 255 + (255 - alpha)).astype(np.uint8)

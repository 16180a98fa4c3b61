"""An open slide file: one protocol, OpenSlide and cuCIM behind it.

OpenSlide (https://openslide.org) reads most scanners' formats; cuCIM (https://docs.rapids.ai/api/cucim) reads tiled TIFF
and Aperio's SVS. Their JPEG decoders round differently, so that a manifest is cut by one of them throughout.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from wsc_ray.errors import DataError

Reader = Literal["openslide", "cucim"]
READERS = ("openslide", "cucim")


class Slide(Protocol):
    """An open slide.

    Attributes:
        size: width and height at level 0, px.
        downsamples: of each level, 1.0 the first.
        mpp: what the file says of level 0 in x and y, um/px; None where it says nothing.
        scanned: x, y, width, height of the part that was scanned, level-0 px.
    """

    size: tuple[int, int]
    downsamples: tuple[float, ...]
    mpp: tuple[float, float] | None
    scanned: tuple[int, int, int, int]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        """The region whose upper left corner is (x, y), level-0 px, `width` x `height` px of `level`; (h, w, 3) uint8,
        RGB, white where nothing was scanned.

        Raises:
            DataError: it cannot be read.
        """

    def close(self) -> None: ...


def choose_reader(name: str) -> Reader:
    """`openslide` or `cucim`, whichever `name` is; of `auto` the first that is installed.

    Raises:
        DataError: it is not installed, or no reader of that name is known.
    """
    modules = {"openslide": "openslide", "cucim": "cucim"}
    if name not in ("auto", *READERS):
        raise DataError(f"--reader {name}: one of auto, {', '.join(READERS)}")
    for reader in READERS if name == "auto" else (name,):
        if importlib.util.find_spec(modules[reader]):
            return reader
    missing = "OpenSlide or cuCIM" if name == "auto" else {"openslide": "OpenSlide", "cucim": "cuCIM"}[name]
    raise DataError(
        f"{missing} is not installed; `pip install 'wsc-ray[slides]'` brings OpenSlide, 'wsc-ray[gpu]' brings cuCIM"
    )


def open_slide(path: Path, reader: Reader) -> Slide:
    """Open a slide file.

    Raises:
        DataError: it is missing, damaged, or of a format that the reader does not know.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there")
    return (OpenSlideSlide if reader == "openslide" else CuCimSlide)(path)


class OpenSlideSlide:
    """A slide by OpenSlide."""

    def __init__(self, path: Path):
        import openslide

        self._error = openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise DataError(f"{path} cannot be opened: {error}") from None
        properties = self._slide.properties
        self.size = self._slide.dimensions
        self.downsamples = tuple(float(each) for each in self._slide.level_downsamples)
        told = [properties.get(name) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)]
        self.mpp = (float(told[0]), float(told[1])) if all(told) else None
        bounds = [properties.get(f"openslide.bounds-{name}") for name in ("x", "y", "width", "height")]
        self.scanned = tuple(int(each) for each in bounds) if all(bounds) else (0, 0, *self.size)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        try:
            region = np.asarray(self._slide.read_region((x, y), level, (width, height)))
        except self._error as error:
            raise DataError(f"the region at {x}, {y} cannot be read: {error}") from None
        return on_white(region)

    def close(self) -> None:
        self._slide.close()


class CuCimSlide:
    """A slide by cuCIM, on the CPU: on a GPU its decoder would take turns with training's."""

    def __init__(self, path: Path):
        from cucim import CuImage

        try:
            self._slide = CuImage(str(path))
            resolutions = self._slide.resolutions
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{path} cannot be opened by cuCIM: {str(error).splitlines()[0]}; try OpenSlide") from None
        self.size = tuple(int(each) for each in resolutions["level_dimensions"][0])
        self.downsamples = tuple(float(each) for each in resolutions["level_downsamples"])
        self.mpp = self._told_mpp()
        self.scanned = (0, 0, *self.size)

    def _told_mpp(self) -> tuple[float, float] | None:
        """Aperio's own word, which cuCIM does not take for its spacing, or the TIFF's resolution."""
        aperio = self._slide.metadata.get("aperio", {}).get("MPP")
        if aperio:
            return float(aperio), float(aperio)
        if set(self._slide.spacing_units("XY")) != {"micrometer"}:
            return None
        x, y = self._slide.spacing("XY")
        return float(x), float(y)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        try:
            region = np.asarray(self._slide.read_region((x, y), (width, height), level))
        except (RuntimeError, ValueError) as error:
            raise DataError(f"the region at {x}, {y} cannot be read: {str(error).splitlines()[0]}") from None
        return on_white(region)

    def close(self) -> None:
        self._slide.close()


def on_white(region: np.ndarray) -> np.ndarray:
    """(h, w, 4) or (h, w, 3) uint8 to (h, w, 3): what is transparent, since it was not scanned, becomes white."""
    if region.shape[-1] == 3:
        return region
    colour, alpha = region[..., :3], region[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    # Premultiplied or not, both libraries give fully seen or fully unseen px but at the edges of a scan.
    return (colour.astype(np.uint16) * alpha // 255 + (255 - alpha)).astype(np.uint8)

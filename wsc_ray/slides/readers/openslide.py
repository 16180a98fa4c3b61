"""`openslide`: OpenSlide (https://openslide.org), which reads most scanners' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.slide import MAX_TILE, READERS, Slide, on_white, pyramid
from wsc_ray.storage import AnyPath

AT_ONCE = 2**24  # px of level 0 that OpenSlide is asked for at a time: it takes five times the memory of the result


@READERS.register("openslide")
class OpenSlideSlide(Slide):
    """A slide opened with OpenSlide."""

    package, title, extra = "openslide", "OpenSlide", "slides"

    def __init__(self, path: Path, named: AnyPath | None = None):
        """Open a slide.

        Args:
            named: the path that errors name; None for `path`.
        """
        import openslide

        self._path, self._named = path, named or path
        self._slide: Any = _open(path, self._named)
        properties = self._slide.properties
        self._vendor = properties.get(openslide.PROPERTY_NAME_VENDOR)
        self._level_sizes, self._level_downsamples = self._slide.level_dimensions, self._slide.level_downsamples
        self.size = self._slide.dimensions
        self.downsamples = pyramid(self._level_sizes, self._level_downsamples)
        mpp_x = properties.get(openslide.PROPERTY_NAME_MPP_X)
        mpp_y = properties.get(openslide.PROPERTY_NAME_MPP_Y)
        self.mpp = (float(mpp_x), float(mpp_y)) if mpp_x and mpp_y else None
        x, y, width, height = (properties.get(f"openslide.bounds-{name}") for name in ("x", "y", "width", "height"))
        self.scanned = (0, 0, *self.size)
        if x and y and width and height:
            self.scanned = (int(x), int(y), int(width), int(height))
        for level in range(self._slide.level_count):
            w, h = (int(properties.get(f"openslide.level[{level}].tile-{name}", 0)) for name in ("width", "height"))
            if w * h > MAX_TILE:
                self.close()
                raise DataError(
                    f"{self._named} says its tiles are {w:,} x {h:,} px, and {MAX_TILE:,} px are the most that are read"
                )

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        if level > 0 or width * height <= AT_ONCE:  # at other levels OpenSlide rounds the corner of each part
            return self._read(x, y, level, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        rows = max(1, AT_ONCE // width)
        for top in range(0, height, rows):
            pixels[top : top + rows] = self._read(x, y + top, level, width, min(rows, height - top))
        return pixels

    def _read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        from openslide import OpenSlideError

        if self._slide is None:
            self._slide = _open(self._path, self._named)
        try:
            image = self._slide.read_region((x, y), level, (width, height))
        except OpenSlideError as error:
            self._close_handle()  # after an error, it reads nothing more
            raise DataError(f"the region at {x}, {y} cannot be read: {error}") from None
        return on_white(np.asarray(image))

    def close(self) -> None:
        self._close_handle()

    def _close_handle(self) -> None:
        """Close OpenSlide's handle; the next region opens another."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None


def _open(path: Path, named: AnyPath) -> Any:
    import openslide

    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise DataError(f"{named} cannot be opened: {error}") from None

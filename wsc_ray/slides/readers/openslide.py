"""`openslide`: OpenSlide (https://openslide.org), which reads most scanners' formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.slide import READERS, Slide, on_white, pyramid


@READERS.register("openslide")
class OpenSlideSlide(Slide):
    """A slide by OpenSlide."""

    package, title, extra = "openslide", "OpenSlide", "slides"

    def __init__(self, path: Path):
        import openslide

        self._error = openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise DataError(f"{path} cannot be opened: {error}") from None
        properties = self._slide.properties
        self.size = self._slide.dimensions
        self.downsamples = pyramid(self._slide.level_dimensions, self._slide.level_downsamples)
        mpp_x = properties.get(openslide.PROPERTY_NAME_MPP_X)
        mpp_y = properties.get(openslide.PROPERTY_NAME_MPP_Y)
        self.mpp = (float(mpp_x), float(mpp_y)) if mpp_x and mpp_y else None
        x, y, width, height = (properties.get(f"openslide.bounds-{name}") for name in ("x", "y", "width", "height"))
        self.scanned = (0, 0, *self.size)
        if x and y and width and height:
            self.scanned = (int(x), int(y), int(width), int(height))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        try:
            region = np.asarray(self._slide.read_region((x, y), level, (width, height)))
        except self._error as error:
            raise DataError(f"the region at {x}, {y} cannot be read: {error}") from None
        return on_white(region)

    def close(self) -> None:
        self._slide.close()

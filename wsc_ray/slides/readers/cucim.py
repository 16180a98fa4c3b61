"""`cucim`: cuCIM (https://docs.rapids.ai/api/cucim), which reads tiled TIFF and Aperio's SVS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.slide import READERS, Slide, on_white, pyramid


@READERS.register("cucim")
class CuCimSlide(Slide):
    """A slide opened with cuCIM, on the CPU: on a GPU its decoder would compete with training."""

    package, title, extra = "cucim", "cuCIM", "gpu"

    def __init__(self, path: Path):
        from cucim import CuImage

        try:
            self._slide = CuImage(str(path))
            resolutions = self._slide.resolutions
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{path} cannot be opened by cuCIM: {str(error).splitlines()[0]}; try OpenSlide") from None
        width, height = resolutions["level_dimensions"][0]
        self.size = (int(width), int(height))
        self.downsamples = pyramid(resolutions["level_dimensions"], resolutions["level_downsamples"])
        self.mpp = self._mpp_of_file()
        self.scanned = (0, 0, *self.size)

    def _mpp_of_file(self) -> tuple[float, float] | None:
        """Return Aperio's value, which cuCIM's spacing ignores, else the TIFF's resolution; None if there is neither."""
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

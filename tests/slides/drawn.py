"""Slides drawn for tests: a disc of tissue on glass, in a tiled TIFF with a pyramid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile


def draw(side: int = 1024, *, seed: int = 0, radius: float = 0.35) -> np.ndarray:
    """(side, side, 3) uint8: nearly white glass, and in its middle a disc of purple nuclei in pink."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(242, 2, (side, side, 3))
    y, x = np.mgrid[:side, :side] - side / 2
    disc = np.hypot(x, y) < radius * side
    cells = cv2.GaussianBlur(rng.random((side, side)), (0, 0), 3)
    nuclei = cells > np.quantile(cells, 0.8)
    picture[disc] = (225, 160, 190)
    picture[disc & nuclei] = (110, 60, 150)
    return picture.clip(0, 255).astype(np.uint8)


def write(
    path: Path, picture: np.ndarray, *, mpp: float | None = 0.5, levels: int = 3, macro: np.ndarray | None = None
) -> Path:
    """Write a picture as a slide, each level half the one before.

    Args:
        macro: another picture that the file holds as its last level.
    """
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for level in range(levels + (macro is not None)):
            file.write(
                macro if level == levels else picture,
                tile=(256, 256),
                photometric="rgb",
                compression="zlib",
                subfiletype=1 if level else 0,
                metadata=None,
                **(resolution if not level else {}),
            )
            picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return path

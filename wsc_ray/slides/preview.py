"""Pictures of slides that show which parts were taken for tissue, and which patches were kept."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.slides.picture import picture_of
from wsc_ray.slides.slide import Slide
from wsc_ray.slides.tissue import Tissue

SIDE = 1400  # px: longer side of a picture
QUALITY = 85
TINT = 0.15  # opacity of the patches' colour
EDGES = 12  # px: smallest patches that are drawn with their edges
_KEPT, _TISSUE, _PEN, _BLURRED = (0, 160, 60), (20, 20, 20), (230, 120, 0), (0, 90, 230)


def preview(slide: Slide, picture: np.ndarray, px: float, tissue: Tissue, kept: np.ndarray, size: float) -> bytes:
    """Return a JPEG of the slide: kept patches in green, tissue outlined in black, pen marks in orange, blur in blue.

    Args:
        picture: (h, w, 3) uint8, RGB; each px is `px` level-0 px. If it is too small, the slide is read again.
        tissue: the tissue on this picture.
        kept: (n, 2), upper left corners of the kept patches, level-0 px.
        size: side of a patch, level-0 px.
    """
    wanted = max(1.0, max(slide.size) / SIDE)
    width, height = (max(1, int(side / wanted)) for side in slide.size)
    shown = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    if wanted < px:
        with contextlib.suppress(DataError):  # if finer levels are damaged, the small picture has to do
            shown = picture_of(slide, wanted)
    corners = np.round(np.stack([kept, kept + size], axis=1) / wanted).astype(int)
    drawn = draw(shown, tissue, corners)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return data.tobytes()


def draw(picture: np.ndarray, tissue: Tissue, patches: np.ndarray) -> np.ndarray:
    """Return the picture with patches and outlines drawn on it, (h, w, 3) uint8, RGB.

    Args:
        picture: (h, w, 3) uint8, RGB.
        tissue: the tissue of the same slide, at any scale.
        patches: (n, 2, 2) int64, upper left and lower right corner (x, y) of each patch, px of the picture.
    """
    tinted = picture.copy()
    for low, high in patches.tolist():
        cv2.rectangle(tinted, low, (high[0] - 1, high[1] - 1), _KEPT, cv2.FILLED)
    drawn = cv2.addWeighted(picture, 1 - TINT, tinted, TINT, 0)
    for low, high in patches.tolist():
        if high[0] - low[0] >= EDGES:
            cv2.rectangle(drawn, low, high, _KEPT, 1)
    shape = picture.shape[1::-1]
    for mask, colour in ((tissue.mask, _TISSUE), (tissue.blurred, _BLURRED), (tissue.pen, _PEN)):
        resized = cv2.resize(mask.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(resized, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(drawn, outlines, -1, colour, 2)
    return drawn

"""Small pictures for the page, as `data:` URIs: thumbnails of slides, attention maps, patches."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from wsc_ray.features.fit import fit

SIDE = 280  # px, longer side of a thumbnail and of a map
PATCH = 72  # px, side of a patch
COLOURS = "viridis"  # readable in grey, and for colour-blind people
FRAMED = 5  # px in a map: smallest patch that gets a frame
_QUALITY = 72
_TUMOUR = (255, 64, 64)


@dataclass(frozen=True)
class Frame:
    """The part of a slide that a picture shows, level-0 px, and the side of a patch there."""

    x: int
    y: int
    width: int
    height: int
    patch: int

    @property
    def scale(self) -> float:
        """Picture px per level-0 px."""
        return SIDE / max(self.width, self.height)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, px."""
        return max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))

    def box(self, x: int, y: int) -> tuple[int, int, int, int]:
        """Return the position of a patch in the picture: left, top, right and bottom px (inclusive), at least one px wide."""
        left, top = int((x - self.x) * self.scale), int((y - self.y) * self.scale)
        right = max(left, int(np.ceil((x + self.patch - self.x) * self.scale)) - 1)
        return left, top, right, max(top, int(np.ceil((y + self.patch - self.y) * self.scale)) - 1)


def frame_of(coords: np.ndarray, patch: int | None) -> Frame | None:
    """Return the rectangle around the patches of a slide; None if their positions are unknown (no or only negative coordinates).

    Args:
        coords: (N, 2) int64, level-0 px.
        patch: side of a patch, level-0 px; if None, the smallest step between neighbours is taken.
    """
    if not len(coords) or (coords < 0).all():
        return None
    if patch is None:
        steps = [np.diff(np.unique(column)) for column in coords.T]
        patch = int(min((step.min() for step in steps if len(step)), default=256))
    low, high = coords.min(axis=0), coords.max(axis=0) + patch
    width, height = (high - low).tolist()
    return Frame(int(low[0]), int(low[1]), max(1, width), max(1, height), max(1, patch))


def attention_map(frame: Frame, coords: np.ndarray, attention: np.ndarray, labels: np.ndarray | None) -> str:
    """Draw patches in the colour of their attention relative to the slide's highest; the rest of the map is transparent.

    Patches that are known to be positive have a frame, if they are large enough to show their colour inside it.
    """
    picture = Image.new("RGBA", frame.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    highest = float(attention.max()) or 1.0
    colours = (np.asarray(matplotlib.colormaps[COLOURS](attention / highest)) * 255).astype(np.uint8)
    order = np.argsort(attention, kind="stable")  # the highest attention shows where patches share px
    for place in order.tolist():
        draw.rectangle(frame.box(*coords[place].tolist()), fill=tuple(colours[place].tolist()))
    if labels is None or frame.patch * frame.scale < FRAMED:
        return _uri(picture, lossless=True)
    for place in np.flatnonzero(labels > 0).tolist():
        draw.rectangle(frame.box(*coords[place].tolist()), outline=(*_TUMOUR, 255))
    return _uri(picture, lossless=True)


def mosaic(frame: Frame, coords: Sequence[tuple[int, int]], images: Sequence[np.ndarray]) -> str:
    """Draw a slide from some of its patches."""
    picture = Image.new("RGB", frame.size, (244, 244, 244))
    for (x, y), image in zip(coords, images, strict=True):
        left, top, right, bottom = frame.box(x, y)
        side = (right - left + 1, bottom - top + 1)
        picture.paste(Image.fromarray(image).resize(side, Image.Resampling.BOX), (left, top))
    return _uri(picture)


def thumbnail(image: np.ndarray, frame: Frame) -> str:
    """Return a picture of the frame, (h, w, 3) uint8, at the size of its map."""
    return _uri(Image.fromarray(image).resize(frame.size, Image.Resampling.BOX))


def patch_picture(image: np.ndarray) -> str:
    """Return the picture of a patch, (h, w, 3) uint8."""
    return _uri(Image.fromarray(fit(image, PATCH, "bicubic")))


def _uri(picture: Image.Image, *, lossless: bool = False) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=_QUALITY, lossless=lossless, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()

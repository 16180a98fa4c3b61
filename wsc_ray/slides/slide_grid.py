"""A slide's grid: which patches of it will be cut. No patch is read for that."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.slides.coords import read_coords, write_coords, write_preview
from wsc_ray.slides.grid import covered, grid
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.scale import Scale, choose_scale, level0_mpp
from wsc_ray.slides.slide import open_slide
from wsc_ray.slides.tissue import find_tissue, small_picture
from wsc_ray.storage import AnyPath


@dataclass(frozen=True)
class Settings:
    """What decides a slide's grid and its patches.

    Attributes:
        mpp: um/px of the patches.
        size, overlap: of a patch and with its neighbour, px as stored.
        tissue: least share of a patch that is tissue.
    """

    mpp: float
    size: int
    overlap: int
    tissue: float
    reader: str


@dataclass(frozen=True)
class SlideGrid:
    """A slide's grid, or why there is none."""

    coords: np.ndarray
    scale: Scale | None
    problem: str = ""

    @classmethod
    def failed(cls, problem: str) -> SlideGrid:
        return cls(np.empty((0, 2), np.int64), None, problem)


def known(entry: Entry, settings: Settings, out: AnyPath) -> SlideGrid | None:
    """The grid that a run before has left in `out`; None where there is none of these settings and this file."""
    found = read_coords(out, entry.slide_id, _made(entry, settings))
    return None if found is None else SlideGrid(*found)


def slide_grid(entry: Entry, settings: Settings, out: AnyPath) -> SlideGrid:
    """Find a slide's tissue, lay the grid, and leave both in `out` (`coords/`, `previews/`).

    Raises:
        DataError: the slide cannot be read, or not at that scale.
    """
    with contextlib.closing(open_slide(entry.path, settings.reader)) as slide:
        scale = choose_scale(level0_mpp(slide.mpp, entry.mpp), slide.downsamples, mpp=settings.mpp, size=settings.size)
        picture, px = small_picture(slide, scale.mpp_level0)
        size = slide.size
        step = scale.size_level0 * (settings.size - settings.overlap) / settings.size
        corners = grid(slide.scanned, scale.size_level0, step)
    if len(corners):
        corners = corners[covered(find_tissue(picture), corners, scale.size_level0, px) >= settings.tissue]
    write_preview(out, entry.slide_id, picture, corners, scale.size_level0, px)
    made = _made(entry, settings)  # the grid last: what is known again is whole
    write_coords(out, entry.slide_id, corners, scale, overlap=settings.overlap, size=size, made=made)
    return SlideGrid(corners, scale)


def _made(entry: Entry, settings: Settings) -> Mapping[str, Any]:
    return {**vars(settings), "given": entry.mpp, "bytes": entry.path.stat().st_size}

"""A slide's grids: which patches will be cut. No patch is read for this."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.files import atomic
from wsc_ray.slides.coords import Facts, preview_path, read_coords, write_coords
from wsc_ray.slides.grid import covered, grid
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.masks import mask_identity, read_mask
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.picture import small_picture
from wsc_ray.slides.preview import preview
from wsc_ray.slides.ranges import stamp_of
from wsc_ray.slides.scale import Scale, choose_scale, level0_mpp
from wsc_ray.slides.tissue import Tissue, find_tissue
from wsc_ray.storage import AnyPath, StoragePath

# Why patches are dropped.
NO_TISSUE, LITTLE, PEN, BLURRED = "no tissue", "little tissue", "pen", "out of focus"
DETECTOR = 2  # version of the tissue detection; grids of another version are made anew


@dataclass(frozen=True)
class Settings:
    """The settings that determine a slide's grids and the patches on them.

    Attributes:
        mpps: scales of the patches, um/px; there is a grid for each.
        size: side of a patch, px as stored.
        overlap: overlap of neighbouring patches, px as stored.
        tissue: smallest share of tissue in a patch.
        reader: name of the slide reader.
    """

    mpps: tuple[float, ...]
    size: int
    overlap: int
    tissue: float
    reader: str

    @property
    def folders(self) -> list[str]:
        """The folder inside `coords/` for each scale; empty if there is only one scale."""
        return [f"{mpp:g}mpp" for mpp in self.mpps] if len(self.mpps) > 1 else [""]


@dataclass(frozen=True)
class SlideGrid:
    """A slide's grid at one scale: `coords` (n, 2) int64, level-0 px; or, in `problem`, why there is none."""

    coords: np.ndarray
    scale: Scale | None
    facts: Facts | None = None
    problem: str = ""

    @classmethod
    def failed(cls, problem: str) -> SlideGrid:
        return cls(np.empty((0, 2), np.int64), None, problem=problem)


def known(entry: Entry, settings: Settings, out: AnyPath) -> list[SlideGrid] | None:
    """Return the grids that an earlier run left in `out`, one for each scale; None if any is missing, or was made with other settings
    or from another file."""
    made = _made(entry, settings)
    found = [
        read_coords(out, entry.slide_id, {**made, "mpp": mpp}, folder)
        for mpp, folder in zip(settings.mpps, settings.folders, strict=True)
    ]
    return None if None in found else [SlideGrid(*each) for each in found if each is not None]


def slide_grids(entry: Entry, settings: Settings, out: AnyPath) -> list[SlideGrid]:
    """Find a slide's tissue, make a grid for each scale, and write grids and preview to `out` (`coords/`, `previews/`).

    Raises:
        DataError: the slide or its mask cannot be read, or the slide is coarser than a scale.
    """
    made = _made(entry, settings)
    grids = []
    with contextlib.closing(open_slide(entry.path, settings.reader)) as slide:
        mpp_level0 = level0_mpp(slide.mpp, entry.mpp)
        scales = [choose_scale(mpp_level0, slide.downsamples, mpp=mpp, size=settings.size) for mpp in settings.mpps]
        picture, px = small_picture(slide, mpp_level0)
        tissue = _tissue(entry, picture, slide.size, px)
        for scale in scales:
            step = scale.size_level0 * (settings.size - settings.overlap) / settings.size
            corners = grid(slide.scanned, scale.size_level0, step)
            kept, dropped = choose(tissue, corners, scale.size_level0, px, settings.tissue)
            facts = _facts(slide.size, tissue, (px * mpp_level0 / 1000) ** 2, dropped, entry)
            grids.append(SlideGrid(corners[kept], scale, facts))
        shown = grids[0]
        data = preview(slide, picture, px, tissue, shown.coords, scales[0].size_level0)
    with atomic(preview_path(out, entry.slide_id)) as temporary:
        temporary.write_bytes(data)
    for each, scale, mpp, folder in zip(grids, scales, settings.mpps, settings.folders, strict=True):
        assert each.facts is not None  # grids are written last, so that a grid that `known` finds has its preview
        write_coords(
            out,
            entry.slide_id,
            each.coords,
            scale,
            each.facts,
            overlap=settings.overlap,
            made={**made, "mpp": mpp},
            folder=folder,
        )
    return grids


def choose(
    tissue: Tissue, corners: np.ndarray, size: float, px: float, least: float
) -> tuple[np.ndarray, dict[str, int]]:
    """Return which patches are kept, (n,) bool, and the number of dropped patches by reason.

    The reason is a pen or the focus, whichever covers more of the patch, if the patch would be kept without them.

    Args:
        corners: (n, 2), level-0 px.
        size: side of a patch, level-0 px.
        px: level-0 px per px of the masks.
        least: smallest share of tissue in a kept patch.
    """
    if not len(corners):
        return np.zeros(0, bool), {}
    share, pen, blurred = (covered(mask, corners, size, px) for mask in (tissue.mask, tissue.pen, tissue.blurred))
    kept = share >= least
    spoilt = share + pen + blurred >= least
    reason = np.select(
        [kept, spoilt & (pen >= blurred) & (pen > 0), spoilt & (blurred > 0), share > 0],
        ["", PEN, BLURRED, LITTLE],
        NO_TISSUE,
    )
    names, counts = np.unique(reason[~kept], return_counts=True)
    return kept, dict(zip(names.tolist(), counts.tolist(), strict=True))


def _tissue(entry: Entry, picture: np.ndarray, size: tuple[int, int], px: float) -> Tissue:
    """Return the tissue of the slide's mask; without a mask, detect it on the picture."""
    if entry.mask is None:
        return find_tissue(picture)
    mask = read_mask(entry.mask, size, picture.shape[:2], px)
    return Tissue(mask, np.zeros_like(mask), np.zeros_like(mask))


def _facts(size: tuple[int, int], tissue: Tissue, square_mm: float, dropped: Mapping[str, int], entry: Entry) -> Facts:
    """Return what was found on a slide.

    Args:
        square_mm: mm^2 per px of the masks.
    """
    found, pen, blurred = (
        round(float(np.count_nonzero(mask) * square_mm), 4) for mask in (tissue.mask, tissue.pen, tissue.blurred)
    )
    return Facts(*size, found, pen, blurred, dropped, None if entry.mask is None else entry.mask.name)


def _made(entry: Entry, settings: Settings) -> Mapping[str, Any]:
    """Return all that determines a slide's grids, apart from their scale."""
    values = {name: value for name, value in vars(settings).items() if name != "mpps"}
    stamp = stamp_of(entry.path)
    values |= {"given": entry.mpp, "bytes": stamp.size, "detector": DETECTOR}
    if isinstance(entry.path, StoragePath):  # an object is never touched without being written
        values["changed"] = stamp.changed
    return values if entry.mask is None else {**values, "mask": mask_identity(entry.mask)}

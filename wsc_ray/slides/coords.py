"""A slide's grid in a file: TRIDENT's `<slide>_patches.h5` (https://github.com/mahmoodlab/TRIDENT).

`coords` (n, 2) int64, level-0 px, with TRIDENT's attributes and three more in JSON: `wsc_ray`, the settings, which tell a later
command whether the grid can be used; `wsc_ray_scale`, how its patches are read; and `wsc_ray_facts`, what was found on the slide.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import h5py
import numpy as np

from wsc_ray import checksums
from wsc_ray.files import local_file
from wsc_ray.hdf5 import new_hdf5
from wsc_ray.slides.scale import Scale
from wsc_ray.storage import AnyPath
from wsc_ray.uris import shown

FOLDER = "coords"
PREVIEWS = "previews"
_MADE = "wsc_ray"
_SCALE = "wsc_ray_scale"
_FACTS = "wsc_ray_facts"


@dataclass(frozen=True)
class Facts:
    """What was found on a slide.

    Attributes:
        width, height: level-0 px.
        tissue, pen, blurred: mm^2 of tissue, of pen marks, and of tissue that is out of focus.
        dropped: reason -> number of patches of the grid that were dropped.
        mask: name of the mask's file; None if the tissue was detected.
    """

    width: int
    height: int
    tissue: float
    pen: float
    blurred: float
    dropped: Mapping[str, int]
    mask: str | None = None


def coords_path(out: AnyPath, slide_id: str, scale: str = "") -> AnyPath:
    """Return the path of a slide's grid.

    Args:
        scale: the scale's folder, if the manifest has several scales; see `Settings.folders`.
    """
    folder = out / FOLDER / scale if scale else out / FOLDER
    return folder / f"{slide_id}_patches.h5"


def preview_path(out: AnyPath, slide_id: str) -> AnyPath:
    return out / PREVIEWS / preview_name(slide_id)


def preview_name(slide_id: str) -> str:
    return f"{slide_id}.jpg"


def write_coords(
    out: AnyPath,
    slide_id: str,
    coords: np.ndarray,
    scale: Scale,
    facts: Facts,
    *,
    overlap: int,
    made: Mapping[str, Any],
    folder: str = "",
) -> None:
    """Write a slide's grid in one step.

    Args:
        coords: (n, 2) int64.
        overlap: overlap of neighbouring patches, px as stored.
        made: the settings; `read_coords` compares them.
        folder: the scale's folder; see `coords_path`.
    """
    path = coords_path(out, slide_id, folder)
    with new_hdf5(path) as file:
        data = file.create_dataset("coords", data=coords.astype(np.int64).reshape(-1, 2))
        data.attrs.update(
            {
                "name": slide_id,
                "savetodir": shown(path.parent),
                "patch_size": scale.size,
                "patch_size_level0": round(scale.size_level0),
                "level0_magnification": magnification(scale.mpp_level0),
                "target_magnification": magnification(scale.mpp),
                "overlap": overlap,
                "level0_width": facts.width,
                "level0_height": facts.height,
                _MADE: json.dumps(made, sort_keys=True),
                _SCALE: json.dumps(asdict(scale)),
                _FACTS: json.dumps(asdict(facts)),
            }
        )


def clear_others(out: AnyPath, slides: Collection[str], scales: Collection[str] = ("",)) -> None:
    """Delete the grids and previews of all other slides and scales, which an earlier list or other settings left.

    Args:
        scales: folders of scales; see `coords_path`.
    """
    wanted = {coords_path(out, slide, scale) for slide in slides for scale in scales}
    wanted |= {preview_path(out, slide) for slide in slides}
    for folder in (out / FOLDER, out / PREVIEWS, *(out / FOLDER).glob("*mpp")):
        for path in [*folder.glob("*.h5"), *folder.glob("*.jpg")]:
            if path not in wanted:
                path.unlink()


def read_coords(
    out: AnyPath, slide_id: str, made: Mapping[str, Any], folder: str = ""
) -> tuple[np.ndarray, Scale, Facts] | None:
    """Return a slide's grid, (n, 2) int64, its scale and the facts of the slide; None if the file is missing or damaged, or was
    made with other settings. The grid is then made anew."""
    try:
        with local_file(coords_path(out, slide_id, folder)) as local:
            checksums.check(local)
            with h5py.File(local, "r") as file:
                attributes = file["coords"].attrs
                if attributes[_MADE] != json.dumps(made, sort_keys=True):
                    return None
                scale, facts = Scale(**json.loads(attributes[_SCALE])), Facts(**json.loads(attributes[_FACTS]))
                return file["coords"][:], scale, facts
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, MemoryError, OverflowError):
        return None


def magnification(mpp: float) -> float:
    """Return the magnification of a scale in um/px, by the usual convention that 10x is 1 um/px."""
    return round(10 / mpp, 2)

"""A slide's grid in a file: TRIDENT's `<slide>_patches.h5` (https://github.com/mahmoodlab/TRIDENT), and a picture of it.

`coords` (n, 2) int64, level-0 px, with TRIDENT's attributes, and two of ours in JSON: `wsc_ray`, the settings, by which
the grid is known again, and `wsc_ray_scale`, how its patches are read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import cv2
import h5py
import numpy as np

from wsc_ray import checksums
from wsc_ray.files import atomic, local_file
from wsc_ray.slides.scale import Scale
from wsc_ray.storage import AnyPath
from wsc_ray.uris import shown

FOLDER = "coords"
PREVIEWS = "previews"
_MADE = "wsc_ray"
_SCALE = "wsc_ray_scale"
_PREVIEW_PX = 1600  # longer side of a preview
_GREEN = (0, 160, 60)


def coords_path(out: AnyPath, slide_id: str) -> AnyPath:
    return out / FOLDER / f"{slide_id}_patches.h5"


def preview_path(out: AnyPath, slide_id: str) -> AnyPath:
    return out / PREVIEWS / f"{slide_id}.jpg"


def write_coords(
    out: AnyPath,
    slide_id: str,
    coords: np.ndarray,
    scale: Scale,
    *,
    overlap: int,
    size: tuple[int, int],
    made: Mapping[str, Any],
) -> None:
    """Write a slide's grid in one step.

    Args:
        coords: (n, 2) int64.
        overlap: of neighbouring patches, px as stored.
        size: of the slide at level 0, px.
        made: the settings, to know the file by.
    """
    path = coords_path(out, slide_id)
    with (
        atomic(path, checksum=True) as temporary,
        h5py.File(temporary, "w", userblock_size=checksums.USER_BLOCK) as file,
    ):
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
                "level0_width": size[0],
                "level0_height": size[1],
                _MADE: json.dumps(made, sort_keys=True),
                _SCALE: json.dumps(asdict(scale)),
            }
        )


def clear_others(out: AnyPath, slides: Collection[str]) -> None:
    """Take away the grids and pictures of all slides but these, which an earlier list or other settings have left."""
    wanted = {coords_path(out, slide) for slide in slides} | {preview_path(out, slide) for slide in slides}
    for path in [*(out / FOLDER).glob("*.h5"), *(out / PREVIEWS).glob("*.jpg")]:
        if path not in wanted:
            path.unlink()


def read_coords(out: AnyPath, slide_id: str, made: Mapping[str, Any]) -> tuple[np.ndarray, Scale] | None:
    """A slide's grid, (n, 2) int64, and its scale; None where there is none that was made with these settings, or it is
    damaged: the slide is then looked at again."""
    try:
        with local_file(coords_path(out, slide_id)) as local:
            checksums.check(local)
            with h5py.File(local, "r") as file:
                attributes = file["coords"].attrs
                if attributes[_MADE] != json.dumps(made, sort_keys=True):
                    return None
                return file["coords"][:], Scale(**json.loads(attributes[_SCALE]))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, MemoryError, OverflowError):
        return None


def magnification(mpp: float) -> float:
    """By the usual convention: 10x is 1 um/px."""
    return round(10 / mpp, 2)


def write_preview(out: AnyPath, slide_id: str, picture: np.ndarray, coords: np.ndarray, size: float, px: float) -> None:
    """A small picture of the slide with the patches that were kept, `previews/<slide>.jpg`.

    Args:
        picture: (h, w, 3) uint8, RGB; one of its px is `px` level-0 px.
        size: side of a patch, level-0 px.
    """
    shrink = min(1.0, _PREVIEW_PX / max(picture.shape[:2]))
    side = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
    drawn = cv2.resize(picture, side, interpolation=cv2.INTER_AREA)
    scale = shrink / px
    for corner in coords:
        low, high = (tuple(int(each) for each in np.round(at * scale)) for at in (corner, corner + size))
        cv2.rectangle(drawn, low, high, _GREEN, 1)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    assert done
    with atomic(preview_path(out, slide_id)) as temporary:
        temporary.write_bytes(data.tobytes())

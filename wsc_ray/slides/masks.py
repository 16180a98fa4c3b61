"""Masks: tissue that other tools found, as a PNG or as outlines in GeoJSON.

| file | written by | tissue is |
| --- | --- | --- |
| `.geojson`, `.json` | TRIDENT's `contours_geojson`, QuPath's export | see `wsc_ray.slides.geojson` |
| `..._MASK.png` | GrandQC's `tis_det_mask` (https://github.com/cpath-ukk/grandqc) | 0 |
| `..._mask.png` with values from 0 to 7 | GrandQC's `mask_qc` | 1; the others are artefacts and glass |
| other `.png` | any tool | every value but 0, if there is only one |

A PNG shows the whole slide, at any scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.files import first_line
from wsc_ray.slides.geojson import draw_outlines
from wsc_ray.storage import AnyPath

SUFFIXES = (".geojson", ".json", ".png")
MAX_BYTES, MAX_PX = 2**27, 2**30  # largest file, and largest PNG: a header can claim more
ASPECT = 0.02  # allowed relative difference of a mask's shape from the slide's, or
ROUNDED = 2  # allowed difference in px of the mask
_GRANDQC = frozenset(range(8))
_SHOWN = 5  # values that an error names


def read_mask(path: AnyPath, slide_size: tuple[int, int], shape: tuple[int, int], px: float) -> np.ndarray:
    """Return a mask at the scale of a slide's small picture, (h, w) bool.

    Args:
        slide_size: width and height of the slide, level-0 px.
        shape: h and w of the picture.
        px: level-0 px per px of the picture.

    Raises:
        DataError: the mask cannot be read, or has not the shape of the slide.
    """
    try:
        if (path.stat().st_size if isinstance(path, Path) else path.size() or 0) > MAX_BYTES:
            raise DataError(f"it has more than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
        if path.suffix.lower() == ".png":
            return _resized(_tissue(_decoded(data), path.name), slide_size, shape)
        if path.suffix.lower() in SUFFIXES:
            return draw_outlines(data, slide_size, shape, px)
        raise DataError(f"give a mask as {', '.join(SUFFIXES)}")
    except OSError as error:
        raise DataError(f"the mask {path} cannot be read: {error.strerror or first_line(error)}") from None
    except DataError as error:
        raise DataError(f"the mask {path} cannot be used: {error}") from None


def find_masks(folder: AnyPath, slides: Iterable[tuple[str, AnyPath]]) -> Mapping[str, AnyPath]:
    """Return the masks in a folder by slide id; slides without a mask are left out.

    A mask has the name of the slide's id, or of the slide's file with or without its suffix.

    Args:
        slides: id and file of each slide.

    Raises:
        DataError: the folder cannot be read, holds no mask of these slides, or several masks of one slide.
    """
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"--masks {folder} cannot be read: {error.strerror or first_line(error)}") from None
    found = {}
    for slide_id, path in slides:
        stems = dict.fromkeys([slide_id, path.stem, path.name])
        endings = (*SUFFIXES, "_MASK.png", "_mask.png")
        names = [stem + ending for stem in stems for ending in endings if stem + ending in there]
        if len(names) > 1:
            raise DataError(f"--masks {folder} holds several masks of slide {slide_id}: {', '.join(names)}")
        if names:
            found[slide_id] = folder / names[0]
    if not found:
        raise DataError(
            f"--masks {folder} holds no mask of these slides; a mask is called after the slide's id or file, such as "
            f"{slide_id}.geojson or {slide_id}.png"
        )
    return found


def mask_identity(mask: AnyPath) -> list[str | None]:
    """Return what a mask's meaning depends on: the file's name and the SHA-256 (hex) of its bytes, None if it cannot be read."""
    try:
        return [mask.name, hashlib.sha256(mask.read_bytes()).hexdigest()]
    except OSError:
        return [mask.name, None]  # `read_mask` says why


def _decoded(data: bytes) -> np.ndarray:
    """Return the values of a PNG with one channel, (h, w) uint8."""
    header = np.frombuffer(data[16:24], ">u4")
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(header) < 2:
        raise DataError("it is no PNG")
    width, height = header.tolist()
    if width * height > MAX_PX:
        raise DataError(f"it says it is {width:,} x {height:,} px, more than a mask has")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise DataError("it is damaged")
    if picture.ndim == 3:
        if (picture[..., :3] != picture[..., :1]).any():
            raise DataError("it is a picture in colour, and a mask has one value a px")
        picture = picture[..., 0]
    if picture.dtype != np.uint8:
        raise DataError("it has 16 bits a px, and masks have 8")
    return picture


def _tissue(mask: np.ndarray, name: str) -> np.ndarray:
    """Return the tissue, (h, w) bool, according to the values of the mask and the name of its file; see the table above."""
    values = np.flatnonzero(cv2.calcHist([mask], [0], None, [256], [0, 256])).tolist()
    if name.endswith("_MASK.png"):
        return mask == 0
    if name.endswith("_mask.png") and _GRANDQC.issuperset(values) and max(values, default=0) > 1:
        return mask == 1  # also of a slide that is all background, or all artefact
    if len([value for value in values if value]) <= 1:
        return mask != 0
    shown = ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")
    raise DataError(f"it holds the values {shown}, and a mask has 0 and one value for tissue")


def _resized(mask: np.ndarray, slide_size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    (height, width), (w, h) = mask.shape, slide_size
    off = min(abs(width - height * w / h), abs(height - width * h / w))
    if off > ROUNDED and abs(width * h / (height * w) - 1) > ASPECT:
        raise DataError(f"it has {width} x {height} px, which is not the shape of a slide of {w} x {h} px")
    how = cv2.INTER_AREA if height > shape[0] else cv2.INTER_NEAREST
    return cv2.resize(mask.view(np.uint8), (shape[1], shape[0]), interpolation=how) > 0  # INTER_AREA rounds the mean

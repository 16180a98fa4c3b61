"""A picture of patches in rows: each query at the left, and its nearest patches to its right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wsc_ray.features.fit import fit
from wsc_ray.files import atomic
from wsc_ray.manifest import Manifest
from wsc_ray.pixels import PixelSource, Unreadable
from wsc_ray.storage import AnyPath

SIDE = 128  # px of a patch in the picture
_GAP = 8
_CAPTION = 30  # px below a patch, for two lines of text
Place = tuple[str, int, int]  # slide, x, y


def find_images(manifest: Manifest, wanted: Sequence[Place]) -> dict[Place, np.ndarray]:
    """Return the images of the given patches, (h, w, 3) uint8, without patches that the manifest lacks or that cannot be read.

    Raises:
        DataError: the manifest cannot be read.
    """
    runs, groups = manifest.runs(), manifest.row_groups
    slides, asked = {place[0] for place in wanted}, set(wanted)
    numbers = [number for number, slide in enumerate(runs.slides) if slide in slides]
    source = PixelSource(manifest.columns, manifest.folder)
    columns = list(dict.fromkeys(["slide_id", "x", "y", *source.columns]))
    images: dict[Place, np.ndarray] = {}
    for group in np.unique(runs.group[np.isin(runs.slide, numbers)]).tolist():
        keys = manifest.read_group(groups[group].file, groups[group].row_group, ["slide_id", "x", "y"])
        places = list(zip(keys["slide_id"].to_pylist(), keys["x"].to_pylist(), keys["y"].to_pylist(), strict=True))
        rows = [row for row, place in enumerate(places) if place in asked]
        if not rows:
            continue
        table = manifest.read_group(groups[group].file, groups[group].row_group, columns).take(rows)
        for row, image in zip(rows, source.read(table.to_pylist()), strict=True):
            if not isinstance(image, Unreadable):
                images[places[row]] = image
    return images


def write_sheet(path: AnyPath, rows: Sequence[Sequence[tuple[Place, str]]], images: dict[Place, np.ndarray]) -> None:
    """Write a PNG with a row of patches for each of `rows`; a patch without an image is a grey square.

    Args:
        rows: the patches of each row, each with a line of text for its caption.
    """
    width = max(len(row) for row in rows) * (SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(rows) * (SIDE + _GAP + _CAPTION) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for line, row in enumerate(rows):
        for column, (place, text) in enumerate(row):
            left, top = _GAP + column * (SIDE + _GAP), _GAP + line * (SIDE + _GAP + _CAPTION)
            image = images.get(place)
            tile = (
                Image.new("RGB", (SIDE, SIDE), "lightgrey")
                if image is None
                else Image.fromarray(fit(image, SIDE, "bicubic"))
            )
            sheet.paste(tile, (left, top))
            draw.text((left, top + SIDE + 2), f"{place[0][:20]}\n{text}", fill="black")
    with atomic(path) as temporary, temporary.open("wb") as file:
        sheet.save(file, format="PNG")

"""A slide's attention as GeoJSON for QuPath: a square for each patch, and the areas of high attention.

According to its documentation and source (0.4 and later), QuPath expects:

* coordinates in px of the full-resolution image, from its upper left corner
  (https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html);
* a FeatureCollection, which is opened with File > Import objects from file
  (https://qupath.readthedocs.io/en/stable/docs/reference/commands.html#import-objects-from-file), or dragged onto the viewer;
* as `properties.objectType`, `annotation`, `detection`, `tile`, `cell` or `tmaCore`; as `properties.measurements`, an object of numbers (a list of
  names and values before 0.4); as `properties.color`, [red, green, blue]; and as `properties.classification`, an object that needs both `name` and
  `color` (`QuPathTypeAdapters.java` and `GsonTools.java` of https://github.com/qupath/qupath, folder `qupath-core/src/main/java/qupath/lib/io`).

Coordinates are those of OpenSlide. Where a file says which part of the slide was scanned (`openslide.bounds-x` and similar, mainly in MIRAX), QuPath
shows only this part and counts px from its corner, unless the image is opened with `--no-crop` (`OpenslideImageServer.java`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from shapely.geometry.polygon import orient

from wsc_ray.attention.contours import Area, areas, high_attention
from wsc_ray.attention.file import AttentionMap
from wsc_ray.errors import DataError
from wsc_ray.files import atomic
from wsc_ray.storage import AnyPath

GEOJSON = "geojson"  # name of the folder, and suffix of its files
HIGH, LOW = "High attention", "Low attention"  # classes that QuPath shows
_COLOURS = {HIGH: [200, 30, 30], LOW: [120, 120, 120]}


def feature_collection(found: AttentionMap) -> dict[str, Any]:
    """Return the GeoJSON of a slide, in level-0 px.

    A patch is a `detection`, coloured by the rank of its attention. Its measurements are `Attention` (the sum over a slide is 1), `Relative attention`
    (1 is an even share), `Attention percentile` (0 to 100), and the ensemble's probabilities for the whole slide, `Slide probability: <class>`.
    An area of high attention (see `contours.high_attention`) is an `annotation` with the sum of its patches' attention, the highest of them, and
    their number.

    Raises:
        DataError: the positions or the size of the patches are unknown.
    """
    size = found.patch_size_level0
    if size is None or (len(found.coords) and found.coords.min() < 0):
        raise DataError(
            f"slide {found.slide_id}: its features do not say where patches lie and how large they are at level 0"
        )
    attention = found.attention.astype(np.float64)
    high = high_attention(attention)
    rows = np.flatnonzero(high)
    merged = [Area(area.outline, rows[area.patches]) for area in areas(found.coords[rows], size)]
    slide = {
        f"Slide probability: {name}": float(value)
        for name, value in zip(found.classes, found.probabilities, strict=True)
    }
    features = [*_annotations(merged, attention, slide), *_detections(found.coords, size, attention, high, slide)]
    return {"type": "FeatureCollection", "features": features}


def write_geojson(path: AnyPath, collection: Mapping[str, Any]) -> None:
    """Write a FeatureCollection in one step."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(collection, separators=(",", ":"), allow_nan=False), encoding="utf-8")


def _annotations(merged: list[Area], attention: np.ndarray, slide: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for area in merged:
        outline = orient(area.outline)  # RFC 7946, 3.1.6: the outer ring is counterclockwise
        rings = [[[int(x), int(y)] for x, y in ring.coords] for ring in (outline.exterior, *outline.interiors)]
        own = attention[area.patches]
        measurements = {"Attention": float(own.sum()), "Highest attention": float(own.max()), "Patches": len(own)}
        yield _feature(rings, "annotation", HIGH, {**measurements, **slide})


def _detections(
    coords: np.ndarray, size: int, attention: np.ndarray, high: np.ndarray, slide: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    percentiles = _percentiles(attention)
    colours = _colours(percentiles)
    even = attention.sum() / max(1, len(attention))
    for (x, y), value, top, percentile, colour in zip(
        coords.tolist(), attention.tolist(), high.tolist(), percentiles.tolist(), colours.tolist(), strict=True
    ):
        ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
        measurements = {"Attention": value, "Relative attention": value / even, "Attention percentile": percentile}
        feature = _feature([ring], "detection", HIGH if top else LOW, {**measurements, **slide})
        feature["properties"]["color"] = colour
        yield feature


def _feature(
    rings: list[list[list[int]]], kind: str, name: str, measurements: Mapping[str, float | int]
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": kind,
            "classification": {"name": name, "color": _COLOURS[name]},
            "measurements": dict(measurements),
        },
    }


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Return the percentage of values below each value, plus half of those equal to it; (N,), 0 to 100."""
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return 50 * (below + upto) / max(1, len(values))


def _colours(percentiles: np.ndarray) -> np.ndarray:
    """Return a colour of OpenCV's viridis for each percentile, (N, 3) uint8, RGB."""
    levels = np.rint(percentiles * 2.55).astype(np.uint8).reshape(-1, 1)
    if not len(levels):
        return np.zeros((0, 3), np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]

"""Outlines of tissue in GeoJSON, level-0 px: TRIDENT's `contours_geojson` (https://github.com/mahmoodlab/TRIDENT), QuPath's export
(https://qupath.readthedocs.io).

Every polygon is tissue, with its holes cut out. There are two exceptions: detections, cells and tiles are ignored, and polygons of
a class that is not tissue (QuPath's `Ignore*`, and GrandQC's artefacts) are cut out of the tissue. A collection without features is
a slide without tissue.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from wsc_ray.errors import DataError

NO_TISSUE = frozenset(["fold", "darkspot & foreign object", "penmarking", "edge & air bubble", "oof", "background"])
_OBJECTS = frozenset(["detection", "cell", "tile"])
_OUTSIDE = 0.05  # share of the slide's sides by which outlines may lie outside the slide
_SHIFT = 4  # OpenCV draws with 2 ** -_SHIFT px

_Ring = list[tuple[float, float]]


def draw_outlines(data: bytes, slide_size: tuple[int, int], shape: tuple[int, int], px: float) -> np.ndarray:
    """Return the tissue that a file outlines, on a slide's small picture, (h, w) bool.

    Args:
        data: the content of the file.
        slide_size: width and height of the slide, level-0 px.
        shape: h and w of the picture.
        px: level-0 px per px of the picture.

    Raises:
        DataError: the file is no GeoJSON, holds no outline of tissue, or holds one that does not lie on the slide.
    """
    tissue, none = [], []
    names = set()
    for feature in _features(_parsed(data)):
        polygons = list(_polygons(feature))
        name = _class(feature)
        if name.startswith("ignore") or name in NO_TISSUE:
            none += polygons
            names.add(name)
        else:
            tissue += polygons
    if none and not tissue:
        raise DataError(f"all of its outlines are called {', '.join(sorted(names))}; give outlines of tissue")
    for polygon in (*tissue, *none):
        _check_place(polygon, slide_size)
    return _filled(tissue, shape, px) & ~_filled(none, shape, px)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise DataError("it is no JSON") from None


def _features(values: Any) -> Iterator[dict[str, Any]]:
    """Yield the features of a collection or a list, or a single feature; detections, cells and tiles are left out."""
    if isinstance(values, dict) and values.get("type") == "FeatureCollection":
        values = values.get("features")
    elif isinstance(values, dict):
        values = [values]
    if not isinstance(values, list):
        raise DataError("it holds no features of GeoJSON")
    drawn = 0
    for feature in values:
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise DataError("it holds no features of GeoJSON")
        if _properties(feature).get("objectType") not in _OBJECTS:
            drawn += 1
            yield feature
    if values and not drawn:
        raise DataError("it holds detections, cells or tiles alone; give outlines of tissue")


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _class(feature: dict[str, Any]) -> str:
    """Return a feature's class in lower case: QuPath writes an object with a name, GrandQC only the name; empty if there is none."""
    found = _properties(feature).get("classification")
    found = found.get("name") if isinstance(found, dict) else found
    return found.casefold() if isinstance(found, str) else ""


def _polygons(feature: dict[str, Any]) -> Iterator[list[_Ring]]:
    """Yield the polygons of a feature, each as its outline and its holes."""
    waiting = [feature.get("geometry")]
    while waiting:
        geometry = waiting.pop()
        kind, parts = (
            (geometry.get("type"), geometry.get("coordinates")) if isinstance(geometry, dict) else (None, None)
        )
        if isinstance(geometry, dict) and kind == "GeometryCollection":
            inner = geometry.get("geometries")
            waiting += inner if isinstance(inner, list) else [None]
        elif kind in ("Polygon", "MultiPolygon") and isinstance(parts, list):
            shapes = parts if kind == "MultiPolygon" else [parts]
            yield from (_rings(shape) for shape in shapes if shape != [])  # an empty shape is no polygon
        elif kind is None:
            raise DataError("a feature of it has no geometry")
        else:
            raise DataError(f"it holds a {str(kind)[:40]}, and tissue is outlined by polygons")


def _rings(parts: Any) -> list[_Ring]:
    try:
        rings = [[(float(point[0]), float(point[1])) for point in ring] for ring in parts]
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise DataError("a polygon of it is not made of points") from None
    if not all(math.isfinite(value) for ring in rings for point in ring for value in point):
        raise DataError("a polygon of it has points that are no numbers")
    if not rings or len(rings[0]) < 3:
        raise DataError("a polygon of it has fewer than three points")
    return rings


def _check_place(polygon: list[_Ring], slide_size: tuple[int, int]) -> None:
    for axis, side in enumerate(slide_size):
        low, high = (pick(point[axis] for point in polygon[0]) for pick in (min, max))
        if low < -_OUTSIDE * side or high > (1 + _OUTSIDE) * side:
            raise DataError(
                f"an outline reaches from {low:,.0f} to {high:,.0f} px in {'xy'[axis]}, and the slide has {side:,}; give it in "
                "px of level 0"
            )


def _filled(polygons: list[list[_Ring]], shape: tuple[int, int], px: float) -> np.ndarray:
    """Return the polygons filled, (h, w) bool. Each is drawn on its own: a hole in one cuts nothing out of another."""
    mask = np.zeros(shape, bool)
    limits = np.array(shape[::-1])
    for polygon in polygons:
        rings = [np.array(ring) / px for ring in polygon]
        low = np.clip(np.floor(rings[0].min(axis=0)).astype(int), 0, limits - 1)
        high = np.clip(np.ceil(rings[0].max(axis=0)).astype(int) + 1, low + 1, limits)
        part = np.zeros((high - low)[::-1], np.uint8)
        # OpenCV counts from the middle of a px, GeoJSON from its corner. A px that the outline touches is inside.
        points = [np.round((ring - low - 0.5) * (1 << _SHIFT)).astype(np.int32) for ring in rings]
        cv2.fillPoly(part, points, 1, shift=_SHIFT)
        mask[low[1] : high[1], low[0] : high[0]] |= part.astype(bool)
    return mask

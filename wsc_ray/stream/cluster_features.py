"""The patches to cluster, and their features: both kept as arrays that are allocated once, however many patches there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from wsc_ray.errors import DataError
from wsc_ray.feature_files.files import COORDS, FEATURES, open_slide, unreadable
from wsc_ray.progress import Progress
from wsc_ray.storage import AnyPath
from wsc_ray.stream.groups import Group
from wsc_ray.stream.source import Source

_THREADS = 8  # that read row groups


@dataclass(frozen=True, eq=False)
class Places:
    """Where each of n patches lies, in the order of groups and of the rows in them.

    Attributes:
        slides: ids of the slides.
        codes: (n,) int32, the index in `slides` of each patch's slide.
        coords: (n, 2) int64, x and y of its top left corner, px of level 0.
    """

    slides: list[str]
    codes: np.ndarray
    coords: np.ndarray

    def rows_by_slide(self) -> dict[str, np.ndarray]:
        """Return the patches of each slide, as indices into the n."""
        order = np.argsort(self.codes, kind="stable")
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.slides)))[:-1]
        return dict(zip(self.slides, np.split(order, ends), strict=True))


def read_places(source: Source, groups: Sequence[Group]) -> Places:
    """Return where the patches of groups lie."""

    def read(group: Group) -> tuple[list[str], np.ndarray, np.ndarray]:
        table = source.read_group(group.file, group.row_group, ["slide_id", "x", "y"]).slice(group.start, group.rows)
        slide = table["slide_id"].combine_chunks().dictionary_encode()
        used, own = np.unique(slide.indices.to_numpy(), return_inverse=True)
        place = np.column_stack([table[name].cast(pa.int64()).to_numpy() for name in ("x", "y")])
        return slide.dictionary.take(pa.array(used)).to_pylist(), own, place

    total = sum(group.rows for group in groups)
    codes, coords = np.empty(total, np.int32), np.empty((total, 2), np.int64)
    numbers: dict[str, int] = {}
    start = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for group, (names, own, place) in zip(groups, pool.map(read, groups), strict=True):
            end = start + group.rows
            codes[start:end] = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)[own]
            coords[start:end] = place
            start = end
    return Places(list(numbers), codes, coords)


def directions(
    features: AnyPath, rows_of: dict[str, np.ndarray], coords: np.ndarray, label: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each slide, those of its rows that have features, and these features (rows, D) float32 with length 1.

    Args:
        rows_of: the rows of each slide.
        coords: (n, 2) places of all rows.
        label: the name of the work, for the progress.

    Raises:
        DataError: a slide's file is missing or unreadable, has several patches at one place, or its features are of another width than other
            slides', not all finite, or all zero.
    """
    width: int | None = None
    with Progress(label, sum(map(len, rows_of.values())), unit="patches") as progress:
        for slide, rows in rows_of.items():
            with open_slide(features, slide) as file:
                try:
                    values, places = file[FEATURES][:], file[COORDS][:]
                except (OSError, KeyError, TypeError) as error:
                    raise unreadable(features, slide, error) from None
            if values.ndim != 2 or len(values) != len(places) or width not in (None, values.shape[1]):
                raise DataError(
                    f"features of slide {slide} in {features} are {values.shape} of {len(places):,} patches, and those of the other slides "
                    f"have {width} dimensions; embed them with one encoder"
                )
            width = values.shape[1]
            stored = _find(coords[rows], places, slide, features)
            found = values[stored[stored >= 0]].astype(np.float32)
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            if not np.isfinite(lengths).all() or not (lengths > 0).all():
                raise DataError(
                    f"features of slide {slide} in {features} are not all finite numbers, or all zero; embed it again"
                )
            progress.advance(len(rows))
            yield slide, rows[stored >= 0], found / lengths


def _find(wanted: np.ndarray, stored: np.ndarray, slide: str, features: AnyPath) -> np.ndarray:
    """Return the row of each wanted place (n, 2) among the stored ones (m, 2), int64; -1 for a place that is not stored."""
    if np.array_equal(wanted, stored):
        return np.arange(len(stored))
    row = {place: number for number, place in enumerate(map(tuple, stored.tolist()))}
    if len(row) < len(stored):
        raise DataError(
            f"{features} has several patches of slide {slide} at one place, so that it is not known which are the run's; embed the run's "
            "manifest, or give other stream.features"
        )
    return np.array([row.get(place, -1) for place in map(tuple, wanted.tolist())], dtype=np.int64)

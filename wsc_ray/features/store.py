"""Write and read a feature store: a folder with `<slide>.h5` (TRIDENT's datasets) and `slides.parquet` (the cohort).

A slide's file holds `features` (N, D) float32 and `coords` (N, 2) int64 (level-0 px of the patch's upper left corner),
with TRIDENT's attributes (https://github.com/mahmoodlab/TRIDENT). If the manifest has `patch_label`, the file holds it,
too: (N,) int8, -1 where unknown, used only to measure attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from wsc_ray import checksums
from wsc_ray.cohort import write_cohort
from wsc_ray.errors import DataError
from wsc_ray.feature_files.files import (
    COORDS,
    FEATURES,
    UNREADABLE,
    VIEWS,
    open_slide,
    read_slides,
    slide_path,
    unreadable,
)
from wsc_ray.files import first_line, local_file
from wsc_ray.hdf5 import new_hdf5
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown

__all__ = [
    "SlideFeatures",
    "SlideFile",
    "clear_unfinished",
    "read_slide",
    "read_slides",
    "slide_path",
    "stored_slides",
    "write_slide",
    "write_slides",
]


@dataclass(frozen=True)
class SlideFeatures:
    """One slide: `features` (N, D) float32, `coords` (N, 2) int64, `patch_label` (N,) int8 or None."""

    slide_id: str
    features: np.ndarray
    coords: np.ndarray
    patch_label: np.ndarray | None = None


def stored_slides(folder: AnyPath) -> set[str]:
    """Return the ids of the slides whose files the folder holds."""
    return {path.stem for path in folder.glob("*.h5")}


def clear_unfinished(folder: AnyPath) -> None:
    """Delete the half-written files of killed processes; an object store never has such files."""
    if isinstance(folder, Path):
        for path in folder.glob(".*.h5.*"):
            path.unlink(missing_ok=True)


class SlideFile:
    """Writes one slide's file in pieces.

    `append` writes features to a temporary file and keeps coordinates in memory. `finish` moves the file to its place in
    one step, so that a crash leaves the whole file or nothing.

    Args:
        folder: the feature store.
        slide_id: must be fit to be a file name.
        patches: number of patches of the slide.
        attributes: attributes of `features`, in addition to TRIDENT's.
    """

    def __init__(self, folder: AnyPath, slide_id: str, patches: int, attributes: Mapping[str, Any]):
        self.path = slide_path(folder, slide_id)
        self.patches = patches
        self.done = 0
        self._common = {"name": slide_id, "savetodir": shown(folder)}
        self._attributes = attributes
        self._coords: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._stack = ExitStack()
        self._file = self._stack.enter_context(new_hdf5(self.path))

    def append(
        self,
        features: np.ndarray,
        coords: np.ndarray,
        patch_label: np.ndarray | None = None,
        views: np.ndarray | None = None,
    ) -> None:
        """Add the next patches: (n, D), (n, 2), (n,) or None, and (n, K, D) or None.

        Raises:
            DataError: the views have values that half precision cannot hold.
        """
        self._write(FEATURES, features, np.float32)
        if views is not None:
            with np.errstate(over="ignore"):
                halved = views.astype(np.float16)
            if np.isinf(halved).any() and np.isfinite(views).all():
                raise DataError(
                    f"slide {self._common['name']}: its features reach {np.abs(views).max():.3g}, and views hold up to "
                    f"{np.finfo(np.float16).max:g}; embed without --views"
                )
            self._write(VIEWS, halved, np.float16)
        self.done += len(features)
        self._coords.append(np.asarray(coords, np.int64))
        if patch_label is not None:
            self._labels.append(np.asarray(patch_label, np.int8))

    def _write(self, name: str, rows: np.ndarray, dtype: type) -> None:
        if name not in self._file:
            shape = (self.patches, *rows.shape[1:])
            self._file.create_dataset(name, shape, dtype).attrs.update({**self._common, **self._attributes})
        if len(rows):
            self._file[name][self.done : self.done + len(rows)] = rows

    @property
    def coords(self) -> np.ndarray:
        """Coordinates of the patches so far, (n, 2) int64."""
        return np.concatenate(self._coords)

    def finish(self, coords_attributes: Mapping[str, Any]) -> AnyPath:
        """Move the file to its place and return its path; `coords` gets these attributes in addition to TRIDENT's."""
        if self.done != self.patches:
            raise ValueError(f"{self.path.name}: {self.done} of {self.patches} patches were added")
        coords = self._file.create_dataset(COORDS, data=self.coords)
        coords.attrs.update({**self._common, **coords_attributes})
        if self._labels:
            self._file.create_dataset("patch_label", data=np.concatenate(self._labels))
        self._stack.close()
        return self.path

    def discard(self) -> None:
        """Delete the temporary file; do nothing after `finish`."""
        self._stack.__exit__(_Discarded, _Discarded(), None)


class _Discarded(Exception):
    """Makes `atomic` delete its temporary file."""


def write_slide(
    folder: AnyPath, slide: SlideFeatures, *, attributes: Mapping[str, Any], coords_attributes: Mapping[str, Any]
) -> AnyPath:
    """Write one slide's file in one step; see `SlideFile`."""
    file = SlideFile(folder, slide.slide_id, len(slide.features), attributes)
    try:
        file.append(slide.features, slide.coords, slide.patch_label)
        return file.finish(coords_attributes)
    finally:
        file.discard()


def read_slide(folder: AnyPath, slide_id: str) -> SlideFeatures:
    """Return one slide's features.

    Raises:
        DataError: the file does not exist or does not have this format.
    """
    try:
        with open_slide(folder, slide_id) as file:
            features = _dataset(file, FEATURES, "f", (None, None))
            coords = _dataset(file, COORDS, "iu", (len(features), 2))
            label = _dataset(file, "patch_label", "iu", (len(features),)) if "patch_label" in file else None
            return SlideFeatures(slide_id, features, coords, label)
    except UNREADABLE as error:
        if isinstance(error, DataError):  # which is a ValueError
            raise
        raise unreadable(folder, slide_id, error) from None


def _dataset(file: h5py.File, name: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return a dataset of numbers.

    Args:
        kinds: allowed kinds of numpy's types, such as `f`.
        shape: expected shape, with None for any size.

    Raises:
        ValueError: the dataset has another type or shape, or claims more bytes than the file holds.
    """
    data = file[name]
    fits = len(data.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, data.shape, strict=True)
    )
    if data.dtype.kind not in kinds or not fits:
        raise ValueError(f"`{name}` is {data.dtype} {data.shape}")
    if not data.chunks and data.nbytes > data.id.get_storage_size():
        raise ValueError(f"`{name}` says {data.shape} and holds less")
    return data[:]


def read_rows(folder: AnyPath, slide_id: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the features of some patches of a slide, (k, D); only these are read if the file can be memory-mapped.

    Args:
        rows: (k,) int64, ascending; None: all.

    Raises:
        DataError: the file does not exist or does not have this format.
    """
    path = slide_path(folder, slide_id)
    try:
        with local_file(path) as local, h5py.File(local, "r") as file:
            features = file["features"]
            if rows is None:
                return features[:]
            offset = features.id.get_offset()  # None if the dataset is chunked or compressed, as by some tools
            if offset is None:
                return features[:][rows]
            return np.memmap(local, features.dtype, "r", offset, features.shape)[rows]
    except UNREADABLE as error:
        raise unreadable(folder, slide_id, error) from None


def read_file(path: str | AnyPath) -> np.ndarray:
    """Return the features of one file, (N, D), at any path or URI.

    Raises:
        DataError: the file does not exist or has no dataset `features`.
    """
    try:
        with local_file(as_path(path)) as local:
            checksums.check(local)
            with h5py.File(local, "r") as file:
                return _dataset(file, "features", "f", (None, None))
    except UNREADABLE as error:
        raise DataError(f"features cannot be read from {path}: {first_line(error)}") from None


def write_slides(folder: AnyPath, slides: pa.Table) -> None:
    """Write the table of slides: a cohort with a column `patches`, the number of patches of each slide, int64."""
    write_cohort(folder, slides)

"""The patches of a feature store with augmented views, as a source that training streams from.

It gives the stream the same things as a manifest: the table of slides, row groups, runs of slides, and the rows of a row
group. A slide's file is divided into row groups of the same size as a manifest's, so that windows mix slides as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from wsc_ray.cohort import Cohort
from wsc_ray.cohort.cohort import PATCHES
from wsc_ray.errors import DataError
from wsc_ray.feature_files.files import COORDS, FEATURES, VIEWS, open_rows, open_slide, read_slides, slide_path
from wsc_ray.files import read_json
from wsc_ray.manifest import RowGroup
from wsc_ray.manifest.runs import Runs
from wsc_ray.manifest.write import ROW_GROUP_ROWS
from wsc_ray.pixels import Unreadable
from wsc_ray.run_folder import IDENTITY
from wsc_ray.storage import AnyPath, as_path

_THREADS = 16  # threads that open files: remote storage is mostly waited for
_HOW = "`wsc-ray embed --views 8` writes such a store from a manifest"
_OF_FOLDER = ("command", "wsc_ray")  # keys of an identity that name the writer and not the content


class FeatureTable:
    """The patches of a feature store. It pickles as names and counts: files are opened where they are read.

    Attributes:
        uri: absolute path or URI of the folder.
        files: paths of the slides' files on `filesystem`, in the order of slide ids; `RowGroup.file` is an index into them.
        digest: SHA-256 (hex) of what the store was made from (encoder, patches, views) and of its slides' numbers of patches.
        encoder: digest of the encoder that made the features, or its name if another tool made them; None if unknown.
        width: D, the width of the features.
        views: K, the number of views of each patch.
    """

    def __init__(self, folder: AnyPath, counts: Mapping[str, int], shape: tuple[int, int], identity: Mapping[str, Any]):
        self.uri = str(folder)
        self.views, self.width = shape
        self.encoder: str | None = identity.get("encoder")
        self._slides, self._rows = tuple(counts), tuple(counts.values())
        self.digest = store_digest(identity, counts)
        self.files = tuple(_place(slide_path(folder, slide)) for slide in counts)

    def __repr__(self) -> str:
        return f"FeatureTable({self.uri!r}, {len(self.files)} slides, digest {self.digest[:12]})"

    @property
    def filesystem(self) -> fs.FileSystem:
        folder = as_path(self.uri)
        return fs.LocalFileSystem() if isinstance(folder, Path) else folder.locate()[0]

    @property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """Every row group, slide by slide."""
        return tuple(
            RowGroup(file, number, min(ROW_GROUP_ROWS, rows - number * ROW_GROUP_ROWS))
            for file, rows in enumerate(self._rows)
            for number in range(-(-rows // ROW_GROUP_ROWS))
        )

    def runs(self) -> Runs:
        """Return the runs of slides: one run for each row group, since a row group belongs to one slide."""
        groups = self.row_groups
        slide = np.array([group.file for group in groups], dtype=np.int64)
        rows = np.array([group.rows for group in groups], dtype=np.int64)
        return Runs(np.arange(len(groups)), np.zeros_like(rows), rows, slide, self._slides)

    def cohort(self) -> Cohort:
        """Return the slides of the store."""
        return read_slides(as_path(self.uri))

    def read_group(self, file: int, row_group: int, columns: Sequence[str]) -> pa.Table:
        """Return the rows of a row group.

        Args:
            columns: some of `slide_id`, `x`, `y` and `views`, which are (K, D) float16, as bytes.

        Raises:
            DataError: the file is missing, or cannot be read.
        """
        slide, start = self._slides[file], row_group * ROW_GROUP_ROWS
        rows = slice(start, min(start + ROW_GROUP_ROWS, self._rows[file]))
        try:
            with open_rows(slide_path(as_path(self.uri), slide)) as opened:
                coords = opened[COORDS][rows]
                views = opened[VIEWS][rows] if VIEWS in columns else None
        except (OSError, KeyError) as error:
            raise DataError(f"features of slide {slide} cannot be read: {str(error).splitlines()[0]}") from error
        arrays: dict[str, pa.Array] = {
            "slide_id": pa.array([slide] * len(coords)),
            "x": pa.array(coords[:, 0]),
            "y": pa.array(coords[:, 1]),
        }
        if views is not None:
            size = 2 * self.views * self.width
            data = pa.py_buffer(np.ascontiguousarray(views, dtype="<f2"))
            arrays[VIEWS] = pa.Array.from_buffers(pa.binary(size), len(views), [None, data])
        return pa.table({name: arrays[name] for name in columns})


def open_features(uri: str) -> FeatureTable:
    """Open a feature store to train on.

    Local files are compared with their checksums; of objects only the shapes are read.

    Raises:
        DataError: the folder holds no features, they differ in width or lack views, or files are damaged or do not fit the
            table of slides.
        RunFolderError: the object store does not answer.
    """
    folder = as_path(uri)
    slides = read_slides(folder).slides
    counts = {
        slide: patches
        for slide, patches in zip(slides["slide_id"].to_pylist(), slides[PATCHES].to_pylist(), strict=True)
        if patches
    }
    if not counts:
        raise DataError(f"none of the {slides.num_rows} slides of {folder} has a patch; there is nothing to train on")
    shapes = _shapes(folder, counts)
    return FeatureTable(folder, counts, _common(folder, shapes), read_store_identity(folder))


def read_store_identity(folder: AnyPath) -> dict[str, Any]:
    """Return the identity of a feature store, which names its encoder and patches; empty where the store has none.

    Raises:
        DataError: the file of the identity cannot be read.
    """
    try:
        identity = read_json(folder / IDENTITY)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        identity = None
    if not isinstance(identity, dict):
        raise DataError(f"{folder / IDENTITY} cannot be read; embed again into a new folder")
    return identity


def store_digest(identity: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Return the SHA-256 (hex) of a store's content: what it was made from, and its slides' numbers of patches."""
    content = {name: value for name, value in identity.items() if name not in _OF_FOLDER}
    return hashlib.sha256(json.dumps([content, *counts.items()], sort_keys=True).encode()).hexdigest()


def _shapes(folder: AnyPath, counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return K and D of each slide.

    Raises:
        DataError: a file is missing, lacks views, or does not fit the table of slides.
    """
    with ThreadPoolExecutor(1 if isinstance(folder, Path) else _THREADS) as pool:
        shapes = pool.map(lambda slide: _shape(folder, slide, counts[slide]), counts)
        return dict(zip(counts, shapes, strict=True))


def _shape(folder: AnyPath, slide: str, patches: int) -> tuple[int, int]:
    path = slide_path(folder, slide)
    # A local file is read once as a whole, which finds damage before training; of an object only the shapes are read.
    try:
        with open_slide(folder, slide) if isinstance(folder, Path) else open_rows(path) as file:
            shapes = {name: file[name].shape for name in (FEATURES, COORDS, VIEWS) if name in file}
            half = VIEWS in file and file[VIEWS].dtype == np.float16
    except FileNotFoundError:
        raise DataError(f"features of slide {slide} are missing in {folder}; `wsc-ray embed` writes them") from None
    except OSError as error:
        raise DataError(f"features of slide {slide} cannot be read from {path}: {error}") from None
    if VIEWS not in shapes or len(shapes[VIEWS]) != 3 or shapes[VIEWS][1] < 2:
        have = f"{shapes[VIEWS][1]} view" if len(shapes.get(VIEWS, ())) == 3 else "no views"
        raise DataError(
            f"{folder} holds {have} of each patch (slide {slide}), and training on features pairs two of several; {_HOW}"
        )
    _, views, width = shapes[VIEWS]
    expected = {FEATURES: (patches, width), COORDS: (patches, 2), VIEWS: (patches, views, width)}
    if shapes != expected or not half:
        raise DataError(
            f"features of slide {slide} in {folder} are {shapes}, while its table of slides says {patches} patches; embed it again"
        )
    return views, width


def _common(folder: AnyPath, shapes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Return K and D, after checking that they are the same for all slides."""
    first, shape = next(iter(shapes.items()))
    for slide, (views, width) in shapes.items():
        if width != shape[1]:
            raise DataError(
                f"features of slide {slide} in {folder} have {width} dimensions and those of {first} {shape[1]}; use one encoder"
            )
        if views != shape[0]:
            raise DataError(
                f"slide {slide} in {folder} has {views} views of each patch and {first} {shape[0]}; embed with one --views"
            )
    return shape


def _place(path: AnyPath) -> str:
    return str(path) if isinstance(path, Path) else path.locate()[1]


class StoredViews:
    """Gives the contents of a feature table's rows: each patch's views."""

    columns: tuple[str, ...] = (VIEWS,)

    def __init__(self, table: FeatureTable):
        self._shape = (table.views, table.width)

    def fetch(self, rows: Iterable[Mapping[str, Any]]) -> list[np.ndarray | Unreadable]:
        """Return each row's views, (K, D) float16, or the reason why they cannot be used, in order."""
        stored = [np.frombuffer(row[VIEWS], "<f2").reshape(self._shape) for row in rows]
        return [views if np.isfinite(views).all() else Unreadable("its views hold NaN or infinity") for views in stored]

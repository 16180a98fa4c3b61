"""The feature store: a folder with `<slide>.h5` (TRIDENT's datasets) and `slides.parquet` (what each slide is).

A slide's file holds `features` (N, D) float32 and `coords` (N, 2) int64 (level-0 px of the patch's upper left), with
TRIDENT's attributes (https://github.com/mahmoodlab/TRIDENT), and `patch_label` (N,) int8, -1 where unknown, where the manifest has it
(for measuring attention only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from wsc_ray.cohort import COHORT_FILE, Cohort, read_cohort, write_cohort
from wsc_ray.cohort.cohort import PATCHES
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.files import atomic, is_file_name, local_file
from wsc_ray.storage import AnyPath, check_store
from wsc_ray.uris import shown


@dataclass(frozen=True)
class SlideFeatures:
    """One slide: `features` (N, D) float32, `coords` (N, 2) int64, `patch_label` (N,) int8 or None."""

    slide_id: str
    features: np.ndarray
    coords: np.ndarray
    patch_label: np.ndarray | None = None


def slide_path(folder: AnyPath, slide_id: str) -> AnyPath:
    """Where a slide's features lie.

    Raises:
        DataError: the id cannot be a file name.
    """
    if not is_file_name(slide_id):
        raise DataError(f"slide id {slide_id!r} cannot be a file name; `wsc-ray manifest check` lists such ids")
    return folder / f"{slide_id}.h5"


def stored_slides(folder: AnyPath) -> set[str]:
    """Ids of the slides whose features the folder holds."""
    return {path.stem for path in folder.glob("*.h5")}


def write_slide(
    folder: AnyPath, slide: SlideFeatures, *, attributes: Mapping[str, Any], coords_attributes: Mapping[str, Any]
) -> AnyPath:
    """Write one slide's file in one step; a crash leaves either nothing or all of it."""
    path = slide_path(folder, slide.slide_id)
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        features = file.create_dataset("features", data=slide.features.astype(np.float32, copy=False))
        coords = file.create_dataset("coords", data=slide.coords.astype(np.int64, copy=False))
        common = {"name": slide.slide_id, "savetodir": shown(folder)}
        features.attrs.update({**common, **attributes})
        coords.attrs.update({**common, **coords_attributes})
        if slide.patch_label is not None:
            file.create_dataset("patch_label", data=slide.patch_label.astype(np.int8, copy=False))
    return path


def read_slide(folder: AnyPath, slide_id: str) -> SlideFeatures:
    """Read one slide's features.

    Raises:
        DataError: no such file, or not one of this format.
    """
    path = slide_path(folder, slide_id)
    try:
        with local_file(path) as local, h5py.File(local, "r") as file:
            label = file["patch_label"][:] if "patch_label" in file else None
            return SlideFeatures(slide_id, file["features"][:], file["coords"][:], label)
    except (OSError, KeyError) as error:
        raise DataError(f"features of slide {slide_id} cannot be read from {path}: {error}") from None


def write_slides(folder: AnyPath, slides: pa.Table) -> None:
    """Write the table of slides: a cohort with `patches`, how many each slide has, int64."""
    write_cohort(folder, slides)


def read_slides(folder: AnyPath) -> Cohort:
    """Read the table of slides, which has `patches`.

    Raises:
        DataError: the folder holds none, or one that cannot be read.
        RunFolderError: its store does not answer.
    """
    check_store(folder)
    try:
        cohort = read_cohort(folder)
    except ManifestError as error:
        raise DataError(f"{error}; delete it and embed again") from None
    if cohort is None:
        raise DataError(f"{folder} holds no features ({COHORT_FILE} is missing); `wsc-ray embed --run RUN` writes them")
    counts = cohort.slides[PATCHES] if PATCHES in cohort.slides.column_names else None
    if counts is None or not pa.types.is_integer(counts.type) or counts.null_count:
        raise DataError(
            f"{folder / COHORT_FILE} does not say how many patches each slide has; delete it and embed again"
        )
    return cohort

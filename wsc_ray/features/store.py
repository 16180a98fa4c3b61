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
import pyarrow.parquet as pq

from wsc_ray.errors import DataError
from wsc_ray.files import atomic, is_file_name, local_file
from wsc_ray.storage import AnyPath, check_store
from wsc_ray.uris import shown

SLIDES = "slides.parquet"
SLIDES_SCHEMA = pa.schema(
    [
        ("slide_id", pa.string()),
        ("patient_id", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("patches", pa.int64()),
    ]
)


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
    """Write the table of slides (`SLIDES_SCHEMA`)."""
    with atomic(folder / SLIDES) as temporary:
        pq.write_table(slides.cast(SLIDES_SCHEMA), temporary)


def read_slides(folder: AnyPath) -> pa.Table:
    """Read the table of slides.

    Raises:
        DataError: the folder holds none, or one that cannot be read or has nulls.
        RunFolderError: its store does not answer.
    """
    path = folder / SLIDES
    check_store(folder)
    if not path.is_file():
        raise DataError(f"{folder} holds no features ({SLIDES} is missing); `wsc-ray embed --run RUN` writes them")
    try:
        with local_file(path) as local:
            slides = pq.read_table(local, schema=SLIDES_SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}; delete it and embed again") from None
    unknown = [name for name in slides.column_names if slides[name].null_count]
    if unknown:
        raise DataError(f"{path} has slides without {', '.join(unknown)}")
    return slides

"""Find and open the files of a feature store, and read its table of slides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray import checksums
from wsc_ray.cohort import COHORT_FILE, Cohort, read_cohort
from wsc_ray.cohort.cohort import PATCHES
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.files import first_line, is_file_name, local_file
from wsc_ray.storage import AnyPath, check_store

# Errors that h5py raises for damaged files.
UNREADABLE = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    AttributeError,
    MemoryError,
    OverflowError,
)
FEATURES, COORDS, VIEWS = "features", "coords", "views"  # a file's datasets: (N, D), (N, 2) and (N, K, D)


def slide_path(folder: AnyPath, slide_id: str) -> AnyPath:
    """Return the path of a slide's file.

    Raises:
        DataError: the id cannot be a file name.
    """
    if not is_file_name(slide_id):
        raise DataError(f"slide id {slide_id!r} cannot be a file name; `wsc-ray manifest check` lists such ids")
    return folder / f"{slide_id}.h5"


@contextmanager
def open_slide(folder: AnyPath, slide_id: str) -> Iterator[h5py.File]:
    """Open a slide's file to read all of it, after comparing it with its checksum.

    Raises:
        DataError: the file is missing, damaged or not HDF5; errors of the block are not changed.
    """
    path = slide_path(folder, slide_id)
    with ExitStack() as stack:
        try:
            local = stack.enter_context(local_file(path))
            checksums.check(local)
            file = stack.enter_context(h5py.File(local, "r"))
        except FileNotFoundError:
            raise DataError(
                f"features of slide {slide_id} are missing in {folder}; `wsc-ray embed` writes what is missing"
            ) from None
        except UNREADABLE as error:
            raise unreadable(folder, slide_id, error) from None
        yield file


def unreadable(folder: AnyPath, slide_id: str, error: Exception) -> DataError:
    """Return the error for a slide's file that cannot be read."""
    return DataError(
        f"features of slide {slide_id} cannot be read from {slide_path(folder, slide_id)}: {first_line(error)}; delete the file and "
        "embed again"
    )


@contextmanager
def open_rows(path: AnyPath) -> Iterator[h5py.File]:
    """Open a slide's file to read some of its rows, without comparing its checksum.

    From an object store only the bytes of these rows are read.

    Raises:
        OSError: the file is missing, or not HDF5.
    """
    if isinstance(path, Path):
        with h5py.File(path, "r") as file:
            yield file
        return
    files, place = path.locate()
    with files.open_input_file(place) as stream, h5py.File(stream, "r") as file:
        yield file


def read_slides(folder: AnyPath) -> Cohort:
    """Return the table of slides of a feature store, which has a column `patches`.

    Raises:
        DataError: the folder has no table of slides, or it cannot be read.
        RunFolderError: the object store does not answer.
    """
    check_store(folder)
    try:
        cohort = read_cohort(folder)
    except ManifestError as error:
        raise DataError(f"{error}; delete it and embed again") from None
    if cohort is None:
        raise DataError(f"{folder} holds no features ({COHORT_FILE} is missing); `wsc-ray embed --run RUN` writes them")
    counts = cohort.slides[PATCHES] if PATCHES in cohort.slides.column_names else None
    if counts is None or not pa.types.is_integer(counts.type) or counts.null_count or (pc.min(counts).as_py() or 0) < 0:
        raise DataError(
            f"{folder / COHORT_FILE} does not say how many patches each slide has; delete it and embed again"
        )
    return cohort

"""Files that a list of slides names, here or on an object store, and the slide files of a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsc_ray.errors import DataError, ManifestError, PlaceError
from wsc_ray.slides.ranges import REQUESTS
from wsc_ray.storage import AnyPath, StoragePath, as_path
from wsc_ray.uris import reason_about, shown

_NO_SLIDES = frozenset(  # suffixes of files that lie beside slides
    [
        ".csv",
        ".tsv",
        ".txt",
        ".xml",
        ".json",
        ".geojson",
        ".qpdata",
        ".annotations",
        ".h5",
        ".npy",
        ".pt",
        ".parquet",
        ".yaml",
        ".yml",
        ".md",
        ".md5",
        ".log",
        ".xlsx",
        ".pdf",
        ".png",
    ]
)


def slides_by_name(folder: AnyPath) -> dict[str, list[AnyPath]]:
    """Return the slide files of a folder by their names, with and without the last suffix.

    A whole name means that file alone: beside `a.svs`, a file `a.svs.partial` is not meant by it.
    """
    found: dict[str, list[AnyPath]] = {}
    paths = slide_files(folder)
    for path in paths:
        found.setdefault(path.stem, []).append(path)
    return found | {path.name: [path] for path in paths}


def slide_files(folder: AnyPath) -> list[AnyPath]:
    """Return the files of a folder that may be slides, sorted."""
    try:
        paths: list[AnyPath] = [*folder.iterdir()]
        return [
            path
            for path in sorted(paths, key=lambda path: path.name)
            if path.suffix.lower() not in _NO_SLIDES and not path.name.startswith(".") and path.is_file()
        ]
    except (OSError, DataError) as error:
        raise ManifestError(f"the slides' folder {folder} cannot be read: {_reason(folder, error)}") from None


def is_folder(place: AnyPath) -> bool:
    """Return whether a place is a folder.

    Raises:
        ManifestError: it cannot be asked.
    """
    try:
        return place.is_dir()
    except (OSError, DataError) as error:
        raise ManifestError(f"{shown(place)} cannot be read: {_reason(place, error)}") from None


def place_of(named: str, folder: AnyPath) -> AnyPath:
    """Return the place of a slide or mask that a list names by a path or URI."""
    if "://" in named:
        return as_path(named)
    return Path(named) if named.startswith("/") else folder / named


def objects_there(folder: AnyPath, columns: Iterable[Sequence[str | None]]) -> dict[AnyPath, str]:
    """Return the objects that columns of places name, each with the reason why it cannot be used, "" for none; many are asked for at once."""

    def problem(path: AnyPath) -> str:
        try:
            return "" if path.is_file() else "is not there"
        except (OSError, DataError) as error:
            return f"cannot be read: {_reason(path, error)}"

    objects: dict[AnyPath, str] = {}
    for text in {text for column in columns for text in column if text}:
        with contextlib.suppress(PlaceError):  # the list's reader says it
            if isinstance(path := place_of(text, folder), StoragePath):
                objects[path] = ""
    with ThreadPoolExecutor(REQUESTS) as pool:
        return dict(zip(objects, pool.map(problem, objects), strict=True))


def _reason(path: AnyPath, error: Exception) -> str:
    return (
        error.strerror or str(error)
        if isinstance(path, Path) and isinstance(error, OSError)
        else reason_about(str(path), error)
    )

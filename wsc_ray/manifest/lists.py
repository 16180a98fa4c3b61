"""Read lists of image files as a source, as the code of WeakSupCon, SupCon and DSMIL takes its patches.

WeakSupCon's code takes text files for each slide label, with one relative path per line; others put a label behind the
path, or write a CSV. A list has one patch per line, with paths relative to the root folder, absolute paths or URIs:

* text: `slide_7/patch_1024_2048.jpg` with one label for the whole list, or `slide_7/patch_1024_2048.jpg positive` with
  the label behind the last blank; empty lines and lines that start with `#` are skipped;
* `.csv` or `.tsv` with a header that has `path` and any of the manifest's columns; or without a header, with the columns
  path, label, slide_id, patient_id, split, the last of which may be left out.

Columns that a list does not have are filled: `slide_id` is the name of the folder that holds the file; `patient_id` is
`slide_id`; `x` and `y` are the last two numbers of the file's name (`..._1024_2048.jpg`, `..._x1024_y2048.png`,
`1024_2048.jpeg`), taken as level-0 px. If any file name of a slide has no such numbers, all patches of that slide are
numbered instead: x is 0, 1, 2, ... in the list's order, and y is 0.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from wsc_ray import storage
from wsc_ray.cohort.tables import choose_column, is_text_table, read_header, read_text_table
from wsc_ray.cohort.values import DID_YOU_MEAN
from wsc_ray.errors import ManifestError
from wsc_ray.manifest.mapping import build_table, choose_columns
from wsc_ray.manifest.pixels import UriImages
from wsc_ray.manifest.problems import examples
from wsc_ray.manifest.tables import Source, raise_problems
from wsc_ray.pixels.uris import locate

_PLACE = re.compile(r"(?:^|[^0-9])[xX]?[_=-]?(\d+)[_,-][yY]?[_=-]?(\d+)$")
_POSITIONAL = ("path", "label", "slide_id", "patient_id", "split")
_DEFAULTED = ["slide_id", "patient_id", "x", "y", "patch_size"]


@dataclass(frozen=True)
class PatchList:
    """A list of image files.

    Attributes:
        path: path or URI of the list.
        label, split: label and split of all files, where the list itself has none.
    """

    path: str
    label: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> PatchList:
        """Return the list that `FILE[,label=NAME][,split=NAME]` describes, as typed on the command line.

        Raises:
            ManifestError: the text has another form.
        """
        path, *parts = text.split(",")
        settings = dict(part.partition("=")[::2] for part in parts)
        wrong = sorted(set(settings) - {"label", "split"}) or [name for name, value in settings.items() if not value]
        if wrong or not path:
            raise ManifestError(f"write a list as FILE[,label=NAME][,split=NAME], not as {text!r}")
        return cls(path, settings.get("label"), settings.get("split"))


def read_lists(
    root: str,
    lists: Sequence[PatchList],
    *,
    columns: Mapping[str, str],
    constants: Mapping[str, Any],
    label_names: Mapping[str, str],
) -> Source:
    """Read lists of image files; see `import_manifest` for the arguments. `columns` may also name `path`.

    Raises:
        ManifestError: a list cannot be read, a line or column is wrong, or files are missing; all are listed.
    """
    columns = dict(columns)
    path_column = columns.pop("path", columns.pop("image_uri", "path"))
    whole = {name: constants[name] for name in ("label", "split") if name in constants}
    constants = {name: value for name, value in constants.items() if name not in whole}
    lists = [
        replace(entry, **{name: getattr(entry, name) or value for name, value in whole.items()}) for entry in lists
    ]
    values: dict[str, list[str | None]] = {}
    lines: list[int] = []  # line of each row in its list
    ends: list[int] = []  # the row after the last row of each list
    problems: list[str] = []
    for entry in lists:
        read, numbers = _read_list(entry, path_column, problems)
        for name in (read.keys() | values.keys()) if read else ():
            column = values.setdefault(name, [None] * len(lines))
            column.extend(read.get(name, [None] * len(numbers)))
        lines.extend(numbers)
        ends.append(len(lines))
    raise_problems(root, problems)

    def describe(row: int) -> str:
        number = int(np.searchsorted(ends, row, side="right"))
        return f"line {lines[row]} of {lists[number].path}"

    uris = values.pop(path_column, [])
    chosen, problems = choose_columns(
        ["image_uri", *values], {"image_uri": "image_uri", **columns}, constants, _DEFAULTED
    )
    bare = [row for row, uri in enumerate(uris) if not uri]
    if bare:
        problems.append(f"no path: {examples(bare, describe)}")
    raise_problems(root, problems)
    filled: dict[str, Sequence[Any]] = {
        name: uris if name == "image_uri" else values[column] for name, column in chosen.items()
    }
    filled, notes = _complete(filled, constants, describe, problems)
    _check_files(uris, root, describe, problems)
    raise_problems(root, problems)
    arrays = {name: pa.chunked_array([pa.array(column)]) for name, column in filled.items()}
    table, problems = build_table(arrays, len(uris), constants, label_names)
    raise_problems(root, problems)
    return Source(table, "image_uri", UriImages(filled["image_uri"], root, describe), root, notes)


def place_in_name(uri: str) -> tuple[int, int] | None:
    """Return x and y from a patch's file name, or None."""
    match = _PLACE.search(posixpath.splitext(posixpath.basename(uri))[0])
    return (int(match[1]), int(match[2])) if match else None


def _read_list(
    entry: PatchList, path_column: str, problems: list[str]
) -> tuple[dict[str, list[str | None]], list[int]]:
    """Return source column -> values, and the line of each value."""
    if is_text_table(entry.path) and not entry.path.lower().endswith(".txt"):
        read, numbers = _parse_table(entry, path_column, problems)
        return _with_whole(entry, read, numbers), numbers
    filesystem, path = storage.filesystem(entry.path)
    try:
        with filesystem.open_input_stream(path) as stream:
            text = stream.read().decode("utf-8-sig")
    except FileNotFoundError:
        problems.append(f"the list {entry.path} does not exist")
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"the list {entry.path} cannot be read: {str(error).splitlines()[0]}")
        return {}, []
    read, numbers = _parse_text(text, entry, path_column, problems)
    if not numbers and not problems:
        problems.append(f"the list {entry.path} is empty")
    return _with_whole(entry, read, numbers), numbers


def _with_whole(entry: PatchList, read: dict[str, list[str | None]], numbers: list[int]) -> dict[str, list[str | None]]:
    """Return the columns, with the label and split that hold for the whole list."""
    whole = {name: getattr(entry, name) for name in ("label", "split") if getattr(entry, name) is not None}
    return {**read, **{name: [value] * len(numbers) for name, value in whole.items()}}


def _parse_text(
    text: str, entry: PatchList, path_column: str, problems: list[str]
) -> tuple[dict[str, list[str | None]], list[int]]:
    kept = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    kept = [(number, line) for number, line in kept if line and not line.startswith("#")]
    numbers = [number for number, _ in kept]
    if entry.label is not None:
        return {path_column: [line for _, line in kept]}, numbers
    pairs = [line.rsplit(None, 1) for _, line in kept]
    bare = [number for number, pair in zip(numbers, pairs, strict=True) if len(pair) < 2]
    if bare:
        places = examples(bare, lambda number: f"line {number}")
        problems.append(
            f"the list {entry.path} has no label in {places}; write it behind the path, or give the list's label"
        )
        return {}, []
    return {path_column: [path for path, _ in pairs], "label": [label for _, label in pairs]}, numbers


def _parse_table(
    entry: PatchList, path_column: str, problems: list[str]
) -> tuple[dict[str, list[str | None]], list[int]]:
    try:
        names = read_header(entry.path)
        header = path_column in names
        _, hint = choose_column(names, path_column)
        if not header and hint.startswith(DID_YOU_MEAN):
            problems.append(f"the list {entry.path} has no column `{path_column}`{hint}")
            return {}, []
        table = read_text_table(entry.path, header=header)
    except ManifestError as error:
        problems.append(f"the list {error}")
        return {}, []
    names = table.names if header else [path_column, *_POSITIONAL[1:]]
    if len(names) < len(table.names):
        problems.append(f"the list {entry.path} has no header with `{path_column}`, and more than {len(names)} columns")
        return {}, []
    if not table.rows:
        problems.append(f"the list {entry.path} is empty")
    columns = {
        name: table.texts(column, label=name == "label") for name, column in zip(names, table.names, strict=False)
    }
    return columns, table.lines.tolist() if table.lines is not None else []


def _complete(
    columns: dict[str, Sequence[Any]], constants: Mapping[str, Any], describe: Any, problems: list[str]
) -> tuple[dict[str, Sequence[Any]], tuple[str, ...]]:
    """Return the columns with slide_id, patient_id, x and y filled from paths, and notes for the user."""
    uris = columns["image_uri"]
    notes = []
    if "slide_id" not in columns and "slide_id" not in constants:
        columns["slide_id"] = [posixpath.basename(posixpath.dirname(uri)) or None for uri in uris]
        bare = [row for row, slide in enumerate(columns["slide_id"]) if slide is None]
        if bare:
            problems.append(f"no folder to take slide_id from: {examples(bare, describe)}; give slide_id in a CSV list")
    if "patient_id" not in columns and "patient_id" not in constants:
        if "slide_id" in constants:
            columns["patient_id"] = [constants["slide_id"]] * len(uris)
        else:
            columns["patient_id"] = columns["slide_id"]
        notes.append("every slide counts as a patient of its own, since the lists name no patients")
    if "x" not in columns and "y" not in columns and not {"x", "y"} & set(constants):
        slides = columns.get("slide_id") or [None] * len(uris)
        named = [place_in_name(uri) for uri in uris]
        nameless = {slide for slide, place in zip(slides, named, strict=True) if place is None}
        next_number = dict.fromkeys(nameless, 0)
        places: list[tuple[int, int]] = []
        for slide, place in zip(slides, named, strict=True):
            if place is None or slide in nameless:  # all patches of a slide are numbered, if any has no x and y
                place = (next_number[slide], 0)
                next_number[slide] += 1
            places.append(place)
        columns["x"], columns["y"] = [place[0] for place in places], [place[1] for place in places]
        if nameless:
            notes.append(
                f"patches of {len(nameless)} slides are numbered (x = 0, 1, ...; y = 0), since their file names hold no x and y"
            )
    return columns, tuple(notes)


def _check_files(uris: Sequence[str | None], root: str, describe: Any, problems: list[str]) -> None:
    """Add a problem that names missing local files.

    Looking for objects in a store would take too long; a missing one is found when it is read.
    """
    missing = [row for row, uri in enumerate(uris) if uri and not _may_exist(uri, root)]
    if missing:
        named = examples(missing, lambda row: f"{uris[row]} ({describe(row)})")
        problems.append(f"files missing under {root}: {len(missing):,}: {named}")


def _may_exist(uri: str, root: str) -> bool:
    """Return False for a local file that is missing, and for a name that no file can have."""
    try:
        filesystem, path = locate(uri, root)
        if not isinstance(filesystem, fs.LocalFileSystem):
            return True
        return filesystem.get_file_info(path).type == fs.FileType.File
    except (OSError, ValueError):  # pyarrow and urllib raise these for a NUL, a name of 300 bytes, `http://[::1`
        return False

"""A folder of image files with lists of them as a source: how the code of WeakSupCon, SupCon and DSMIL is fed.

WeakSupCon's code takes, for each slide label, text files with a relative path a line; others put a label behind the
path, or write a CSV. Accepted, a patch a line, paths relative to the root folder (absolute ones and URIs as they are):

* text: `slide_7/patch_1024_2048.jpg` with the label given for the whole list, or `slide_7/patch_1024_2048.jpg positive`
  with the label behind the last blank; empty lines and lines that start with `#` are skipped;
* `.csv` or `.tsv` with a header that has `path`, and any of the manifest's columns; or without a header, then the
  columns are path, label, slide_id, patient_id, split, of which the last may be left out.

What a list does not tell: `slide_id` is the name of the folder that holds the file; `patient_id` is the slide's; `x`
and `y` are the last two numbers of the file's name (`..._1024_2048.jpg`, `..._x1024_y2048.png`, `1024_2048.jpeg`),
taken as level-0 px. Where a name of a slide has no such numbers, all patches of that slide are numbered instead: x is
0, 1, 2, ... in the list's order, and y is 0.
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
from wsc_ray.cohort.tables import is_text_table, read_header, read_text_table
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
    """A list of image files, and the label and split of all of them where the list itself has none.

    Attributes:
        path: of the list, a path or URI.
    """

    path: str
    label: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> PatchList:
        """`FILE[,label=NAME][,split=NAME]`, as on the command line.

        Raises:
            ManifestError: another setting.
        """
        path, *settings = text.split(",")
        given = dict(setting.partition("=")[::2] for setting in settings)
        wrong = sorted(set(given) - {"label", "split"}) or [name for name, value in given.items() if not value]
        if wrong or not path:
            raise ManifestError(f"a list is given as FILE[,label=NAME][,split=NAME], not as {text!r}")
        return cls(path, given.get("label"), given.get("split"))


def read_lists(
    root: str,
    lists: Sequence[PatchList],
    *,
    columns: Mapping[str, str],
    constants: Mapping[str, Any],
    label_names: Mapping[str, str],
) -> Source:
    """Read lists of image files; see `manifest_import` for the arguments. `columns` may also name `path`.

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
    lines: list[int] = []  # of every row in its list
    ends: list[int] = []  # row after the last one of each list
    problems: list[str] = []
    for entry in lists:
        read, numbers = _read_list(entry, path_column, problems)
        for name in (read.keys() | values.keys()) if read else ():
            have = values.setdefault(name, [None] * len(lines))
            have.extend(read.get(name, [None] * len(numbers)))
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
    given: dict[str, Sequence[Any]] = {
        name: uris if name == "image_uri" else values[column] for name, column in chosen.items()
    }
    given, notes = _complete(given, constants, describe, problems)
    _check_files(uris, root, describe, problems)
    raise_problems(root, problems)
    arrays = {name: pa.chunked_array([pa.array(column)]) for name, column in given.items()}
    table, problems = build_table(arrays, len(uris), constants, label_names)
    raise_problems(root, problems)
    return Source(table, "image_uri", UriImages(given["image_uri"], root, describe), root, notes)


def place_in_name(uri: str) -> tuple[int, int] | None:
    """x and y in a patch's file name, or None."""
    found = _PLACE.search(posixpath.splitext(posixpath.basename(uri))[0])
    return (int(found[1]), int(found[2])) if found else None


def _read_list(
    entry: PatchList, path_column: str, problems: list[str]
) -> tuple[dict[str, list[str | None]], list[int]]:
    """Source column -> values, and the line of each."""
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
    """The columns with what is given for the whole list."""
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
        told = examples(bare, lambda number: f"line {number}")
        problems.append(
            f"the list {entry.path} has no label in {told}; write it behind the path, or give the list's label"
        )
        return {}, []
    return {path_column: [path for path, _ in pairs], "label": [label for _, label in pairs]}, numbers


def _parse_table(
    entry: PatchList, path_column: str, problems: list[str]
) -> tuple[dict[str, list[str | None]], list[int]]:
    try:
        header = path_column in read_header(entry.path)
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
    given: dict[str, Sequence[Any]], constants: Mapping[str, Any], describe: Any, problems: list[str]
) -> tuple[dict[str, Sequence[Any]], tuple[str, ...]]:
    """Fill slide_id, patient_id, x and y from paths."""
    uris = given["image_uri"]
    notes = []
    if "slide_id" not in given and "slide_id" not in constants:
        given["slide_id"] = [posixpath.basename(posixpath.dirname(uri)) or None for uri in uris]
        bare = [row for row, slide in enumerate(given["slide_id"]) if slide is None]
        if bare:
            problems.append(f"no folder to take slide_id from: {examples(bare, describe)}; give slide_id in a CSV list")
    if "patient_id" not in given and "patient_id" not in constants:
        if "slide_id" in constants:
            given["patient_id"] = [constants["slide_id"]] * len(uris)
        else:
            given["patient_id"] = given["slide_id"]
        notes.append("every slide is taken for another patient, since the lists name none")
    if "x" not in given and "y" not in given and not {"x", "y"} & set(constants):
        slides = given.get("slide_id") or [None] * len(uris)
        named = [place_in_name(uri) for uri in uris]
        nameless = {slide for slide, place in zip(slides, named, strict=True) if place is None}
        next_number = dict.fromkeys(nameless, 0)
        places: list[tuple[int, int]] = []
        for slide, place in zip(slides, named, strict=True):
            if place is None or slide in nameless:  # some of a slide's names may tell a place; all are numbered then
                place = (next_number[slide], 0)
                next_number[slide] += 1
            places.append(place)
        given["x"], given["y"] = [place[0] for place in places], [place[1] for place in places]
        if nameless:
            notes.append(
                f"patches of {len(nameless)} slides are numbered (x = 0, 1, ...; y = 0), as file names tell no x and y"
            )
    return given, tuple(notes)


def _check_files(uris: Sequence[str | None], root: str, describe: Any, problems: list[str]) -> None:
    """Missing files, on local disks, where asking is cheap; elsewhere a missing one is found when it is read."""
    gone = []
    for row, uri in enumerate(uris):
        if uri and not _may_be_there(uri, root):
            gone.append(row)
    if gone:
        problems.append(
            f"files missing under {root}: {len(gone):,}: {examples(gone, lambda row: f'{uris[row]} ({describe(row)})')}"
        )


def _may_be_there(uri: str, root: str) -> bool:
    """False for a local file that is missing, and for what no file can be called."""
    try:
        filesystem, path = locate(uri, root)
        if not isinstance(filesystem, fs.LocalFileSystem):
            return True
        return filesystem.get_file_info(path).type == fs.FileType.File
    except (OSError, ValueError):  # of pyarrow and urllib, on a NUL, a name of 300 bytes, `http://[::1`
        return False

"""The list of slides: which files there are, of whom, and how they are labelled.

A CSV, TSV or Parquet table. Its columns are taken by their names here or by those that others use for them:

| column | also called | meaning |
| --- | --- | --- |
| path | image_path, slide_path, wsi | of the slide file; relative to the slides' folder |
| slide_id | sample_id | may be a file name; the path's stem where it is missing |
| patient_id | case_id | the slide's id where it is missing |
| label, split | | of the slide |
| site | center, centre | where the slide is from; optional |
| mpp | spacing_at_level_0 | um/px at level 0, where the file's own is missing or wrong |
| mask | mask_path | a file that says where tissue is, see `wsc_ray.slides.masks`; relative to the slides' folder; optional |

Without a column of paths, as in CLAM's lists (https://github.com/mahmoodlab/CLAM), a slide is the one slide file of the
slides' folder that is called `<slide_id>`, or `<slide_id>.<something>`; annotations beside it are no slides.

In place of a list a folder may be given: its slide files are the slides, and their names without the ending are the ids.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from wsc_ray.cohort.problems import alike, patients_in_several
from wsc_ray.cohort.tables import UserTable, choose_column, read_user_table
from wsc_ray.cohort.values import suggest
from wsc_ray.errors import ManifestError
from wsc_ray.files import is_file_name
from wsc_ray.places import local_path
from wsc_ray.plain_yaml import shortened

NAMES = {
    "path": ("image_path", "slide_path", "wsi"),
    "slide_id": ("sample_id",),
    "patient_id": ("case_id",),
    "label": (),
    "split": (),
    "site": ("center", "centre"),
    "mpp": ("spacing_at_level_0",),
    "mask": ("mask_path",),
}
# Files that lie beside slides and are none.
_NO_SLIDES = frozenset(
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
_SHOWN = 20  # problems that are listed, before they are only counted


@dataclass(frozen=True)
class Entry:
    """One slide of the list.

    Attributes:
        mpp: um/px at level 0 that the list gives; None: the file's own.
        label, split: None: not known, which only a list without labels may leave open.
        site: None: not known.
        mask: of its tissue; None: tissue is looked for.
    """

    slide_id: str
    path: Path
    patient_id: str
    label: str | None
    split: str | None
    mpp: float | None = None
    site: str | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class SlideList:
    """The slides of a list, in its order, and what people should know of how it was read."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def read_list(
    source: str | Path,
    *,
    folder: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    label_names: Mapping[str, str] | None = None,
    labelled: bool = True,
) -> SlideList:
    """Read and check a list of slides; no slide is opened.

    Args:
        source: the list, or a folder of slide files.
        folder: where relative paths start; None: the list's own folder.
        columns: our name -> the list's, where it is none of those above.
        constants: our name -> one value for every slide.
        label_names: slide label in the list -> in the manifest; when given, it must name every label.
        labelled: whether every slide needs a label and a split.

    Raises:
        ManifestError: the list cannot be read or is none, or slides of it are wrong; all problems are listed.
    """
    source = local_path(source)
    folder = local_path(folder) if folder else source.parent
    table = _files_of(source) if source.is_dir() else read_user_table(str(source))
    constants = {name: str(value).strip() for name, value in (constants or {}).items()}
    chosen, problems = _choose(table.names, dict(columns or {}), constants, labelled=labelled)
    if not table.rows:
        problems.append("no slides: the list has no rows")
    _raise(source, problems)
    values = {name: table.texts(column, label=name == "label") for name, column in chosen.items()}
    values |= {name: [value] * table.rows for name, value in constants.items()}
    by_name = None if "path" in chosen else _by_name(folder)
    found: list[tuple[int, Entry]] = []
    for row in range(table.rows):
        told = {name: texts[row] for name, texts in values.items()}
        entry = _entry(table.where(row), told, folder, by_name, label_names, problems, labelled=labelled)
        found += [(row, entry)] if entry is not None else []
    names_patients = "patient_id" in values
    _raise(source, problems + _contradictions(table, found, names_patients=names_patients))
    notes = [] if names_patients else ["every slide counts as a patient of its own, since the list names none"]
    notes += [
        f"one slide file under {len(rows)} names, each taken for a slide ({_lines(table, rows)}): {path.name}"
        for path, rows in _rows_of_files(found).items()
        if len(rows) > 1
    ]
    return SlideList(tuple(entry for _, entry in found), tuple(notes))


def _files_of(folder: Path) -> UserTable:
    """The slide files of a folder as a list of them."""
    paths = pa.array([str(path) for path in _slide_files(folder)], pa.string())
    if not len(paths):
        raise ManifestError(f"{folder} holds no slide files; give a list of slides, or a folder of them")
    return UserTable(str(folder), {"path": pa.chunked_array([paths])}, len(paths))


def _choose(
    header: Sequence[str], columns: Mapping[str, str], constants: Mapping[str, str], *, labelled: bool
) -> tuple[dict[str, str], list[str]]:
    """Our name -> the list's column; and problems."""
    chosen, problems = dict(columns), []
    for name in [*columns, *constants]:
        if name not in NAMES:
            problems.append(f"`{name}` is no column of a list of slides; there are {', '.join(NAMES)}")
        if name in columns and name in constants:
            problems.append(f"`{name}` has both a column and a constant; give one")
    for name, column in columns.items():
        if column not in header:
            problems.append(f"`{name}`: the list has no column `{column}`{suggest(column, header)}")
    hints = {}
    for name, aliases in NAMES.items():
        if name in chosen or name in constants:
            continue
        column, hints[name] = choose_column(header, name, aliases)
        if column is not None:
            chosen[name] = column
    have = {*chosen, *constants}
    if not have & {"path", "slide_id"}:
        problems.append(
            f"`path` is missing: name the column of the slide files (--column path=SOURCE){hints.get('path', '')}"
        )
    for name, example in (("label", "--column label=SOURCE"), ("split", "--constant split=train")):
        if labelled and name not in have:
            problems.append(
                f"`{name}` is missing: name its column or give a constant, such as {example}{hints.get(name, '')}"
            )
    return chosen, problems


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """The slide files of a folder by their names, with and without the last suffix."""
    found: dict[str, list[Path]] = {}
    for path in _slide_files(folder):
        for name in {path.name, path.stem}:
            found.setdefault(name, []).append(path)
    return found


def _slide_files(folder: Path) -> list[Path]:
    """The files of a folder that may be slides, in order."""
    try:
        return [
            path
            for path in sorted(folder.iterdir())
            if path.is_file() and path.suffix.lower() not in _NO_SLIDES and not path.name.startswith(".")
        ]
    except OSError as error:
        raise ManifestError(f"the slides' folder {folder} cannot be read: {error.strerror or error}") from None


def _entry(
    line: str,
    values: Mapping[str, str | None],
    folder: Path,
    by_name: Mapping[str, list[Path]] | None,
    label_names: Mapping[str, str] | None,
    problems: list[str],
    *,
    labelled: bool,
) -> Entry | None:
    """The slide of a line; None where a problem has been added."""
    wrong = []
    named = values.get("path")
    path = folder / named if named else None
    slide_id = values.get("slide_id") or (path.stem if path else "")
    if by_name is not None and slide_id:
        files = by_name.get(slide_id, [])
        path = files[0] if len(files) == 1 else None
        if not files:
            wrong.append(f"no slide file called {slide_id} or {slide_id}.* in {folder}")
        elif path is None:
            names = ", ".join(each.name for each in files)
            wrong.append(f"several files called {slide_id}.* in {folder} ({names}); give a column `path`")
        elif path.name == slide_id:
            slide_id = path.stem  # CLAM's lists may have the suffix; the id is without it, as with a column of paths
    elif path is None:
        wrong.append("no path")
    elif not _is_file(path):
        wrong.append(f"{shortened(str(path), 500)} is not there")
    where = line + (f" (slide {slide_id})" if slide_id else "")
    patient_id = values.get("patient_id") or slide_id
    for name, text in (("slide_id", slide_id), ("patient_id", patient_id)):
        if text and not is_file_name(text):
            wrong.append(
                f"{name} {text!r} cannot be a file name: letters a-z, digits and ._ ()+=@- may be in it, and a letter or digit is "
                f"first; give a column {name}"
            )
    for name in ("label", "split"):
        if labelled and not values.get(name):
            wrong.append(f"no {name}")
    label = values.get("label") or None
    if label_names and label:
        if label not in label_names:
            wrong.append(f"label names are given, but not for {label!r}")
        label = label_names.get(label, label)
    mpp, said = _number(values.get("mpp") or "")
    wrong += [said] if said else []
    named = values.get("mask")
    mask = folder / named if named else None
    if mask is not None and not _is_file(mask):
        wrong.append(f"the mask {shortened(str(mask), 500)} is not there")
    if wrong or path is None:
        problems += [f"{where}: {each}" for each in wrong]
        return None
    split = values.get("split") or None
    mask = None if mask is None else mask.absolute()
    return Entry(slide_id, path.absolute(), patient_id, label, split, mpp, values.get("site"), mask)


def _is_file(path: Path) -> bool:
    """False also for what no file can be called, where Python raises: a NUL, or a name longer than disks take."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _number(text: str) -> tuple[float | None, str]:
    try:
        value = float(text) if text else None
    except ValueError:
        return None, f"mpp is {text!r}, not a number"
    return value, "" if value is None or 0 < value < float("inf") else f"mpp is {text}, not above 0 um/px"


def _contradictions(table: UserTable, found: Sequence[tuple[int, Entry]], *, names_patients: bool) -> list[str]:
    """Slides and files that are there twice, patients in several splits, labels and splits that are written in two ways.

    Links give one file several names. That is a mistake where the list says that it is of several patients; where it says
    nothing, `read_list` notes it.
    """
    problems = []
    slides: dict[str, list[int]] = {}
    for row, entry in found:
        slides.setdefault(entry.slide_id, []).append(row)
    for name, rows in slides.items():
        if len(rows) > 1:
            problems.append(f"slide {name} is in the list {len(rows)} times ({_lines(table, rows)})")
    entry_of = dict(found)
    for path, rows in _rows_of_files(found).items():
        same = [entry_of[row] for row in rows]
        ids = {entry.slide_id for entry in same}
        one_name = len({os.path.normpath(entry.path) for entry in same}) < len(ids)
        several_patients = names_patients and len({entry.patient_id for entry in same}) > 1
        if len(ids) > 1 and (one_name or several_patients):
            problems.append(f"the file {path.name} is in the list under several ids ({_lines(table, rows)})")
    entries = [entry for _, entry in found]
    problems += patients_in_several([each.patient_id for each in entries], [each.split for each in entries], "split")
    problems += alike([each.label for each in entries], "label")
    return problems + alike([each.split for each in entries], "split")


def _rows_of_files(found: Sequence[tuple[int, Entry]]) -> dict[Path, list[int]]:
    """The rows of each slide file, by its path without links."""
    rows: dict[Path, list[int]] = {}
    for row, entry in found:
        rows.setdefault(entry.path.resolve(), []).append(row)
    return rows


def _lines(table: UserTable, rows: Sequence[int]) -> str:
    return " and ".join(table.where(row) for row in rows[:4])


def _raise(source: Path, problems: Sequence[str]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = [f"  {problem}" for problem in problems[:_SHOWN]]
        more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ManifestError("\n".join([f"{source}: {count}", *shown, *more]))

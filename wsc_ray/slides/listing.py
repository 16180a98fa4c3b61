"""The list of slides: their files, patients, labels and splits.

The list is a CSV, TSV or Parquet table. Its columns have these names, or the names that other tools use:

| column | also called | meaning |
| --- | --- | --- |
| path | image_path, slide_path, wsi | the slide file, a path or URI; relative to the slides' folder |
| slide_id | sample_id | can be a file name; if missing, the path's stem |
| patient_id | case_id | if missing, the slide's id |
| label, split | | the slide's label and split |
| site | center, centre | the site that the slide comes from; optional |
| mpp | spacing_at_level_0 | um/px at level 0, for files whose own value is missing or wrong; optional |
| mask | mask_path | a mask of the tissue, see `wsc_ray.slides.masks`; relative to the slides' folder; optional |

Without a column of paths, as in CLAM's lists (https://github.com/mahmoodlab/CLAM), a slide is the one file of the slides' folder
with the name `<slide_id>` or `<slide_id>.<suffix>`; files of annotations and tables beside it do not count.

A folder may be given instead of a list: its slide files are the slides, and their names without the suffix are the ids.

Slides, masks and folders may be on an object store (`wsc_ray.slides.objects`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from wsc_ray.cohort.problems import alike, patients_in_several, slides_of_one_file
from wsc_ray.cohort.tables import UserTable, choose_column, read_user_table
from wsc_ray.cohort.values import suggest
from wsc_ray.errors import ManifestError, PlaceError
from wsc_ray.files import is_file_name
from wsc_ray.plain_yaml import shortened
from wsc_ray.slides.slide_files import is_folder, objects_there, place_of, slide_files, slides_by_name
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown

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
_SHOWN = 20  # problems that are listed; further ones are counted


@dataclass(frozen=True)
class Entry:
    """One slide of the list.

    Attributes:
        label, split: None if unknown, which is allowed only for lists that need no labels.
        mpp: um/px at level 0 according to the list; None to take the file's own value.
        site: None if unknown.
        mask: the mask of its tissue; None if the tissue is to be detected.
    """

    slide_id: str
    path: AnyPath
    patient_id: str
    label: str | None
    split: str | None
    mpp: float | None = None
    site: str | None = None
    mask: AnyPath | None = None


@dataclass(frozen=True)
class SlideList:
    """The slides of a list, in its order, and notes on how the list was read."""

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
        folder: folder that relative paths start from; None for the list's own folder.
        columns: name in the table above -> column of the list.
        constants: name in the table above -> one value for every slide.
        label_names: label in the list -> label in the manifest; if given, it must have every label.
        labelled: whether every slide needs a label and a split.

    Raises:
        ManifestError: the list cannot be read or is no list of slides, or slides in it are wrong; all problems are listed.
    """
    source = as_path(source)
    folder = as_path(folder) if folder else source.parent
    table = _files_of(source) if is_folder(source) else read_user_table(str(source))
    constants = {name: str(value).strip() for name, value in (constants or {}).items()}
    chosen, problems = _choose(table.names, dict(columns or {}), constants, labelled=labelled)
    if not table.rows:
        problems.append("no slides: the list has no rows")
    _raise(source, problems)
    values = {name: table.texts(column, label=name == "label") for name, column in chosen.items()}
    values |= {name: [value] * table.rows for name, value in constants.items()}
    by_name = None if "path" in chosen else slides_by_name(folder)
    there = objects_there(folder, [values.get(name, []) for name in ("path", "mask")])
    found: list[tuple[int, Entry]] = []
    for row in range(table.rows):
        told = {name: texts[row] for name, texts in values.items()}
        entry = _entry(table.where(row), told, folder, by_name, there, label_names, problems, labelled=labelled)
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


def _files_of(folder: AnyPath) -> UserTable:
    """Return the slide files of a folder as a table with a column of paths."""
    paths = pa.array([str(path) for path in slide_files(folder)], pa.string())
    if not len(paths):
        raise ManifestError(f"{folder} holds no slide files; give a list of slides, or a folder of them")
    return UserTable(shown(folder), {"path": pa.chunked_array([paths])}, len(paths))


def _choose(
    header: Sequence[str], columns: Mapping[str, str], constants: Mapping[str, str], *, labelled: bool
) -> tuple[dict[str, str], list[str]]:
    """Return the column of the list for each name, and problems."""
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


def _entry(
    line: str,
    values: Mapping[str, str | None],
    folder: AnyPath,
    by_name: Mapping[str, list[AnyPath]] | None,
    there: Mapping[AnyPath, str],
    label_names: Mapping[str, str] | None,
    problems: list[str],
    *,
    labelled: bool,
) -> Entry | None:
    """Return the slide of a line; None if the line has problems, which are added to `problems`."""
    wrong: list[str] = []
    path, mask = (_named(values.get(name), folder, wrong) for name in ("path", "mask"))
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
            slide_id = path.stem  # an id in CLAM's lists may have the suffix; drop it, as with a column of paths
    elif path is None:
        wrong += [] if values.get("path") else ["no path"]
    elif problem := _problem(path, there):
        wrong.append(f"{shortened(shown(path), 500)} {problem}")
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
    if mask is not None and (problem := _problem(mask, there)):
        wrong.append(f"the mask {shortened(shown(mask), 500)} {problem}")
    if wrong or path is None:
        problems += [f"{where}: {each}" for each in wrong]
        return None
    split = values.get("split") or None
    path, mask = (each.absolute() if isinstance(each, Path) else each for each in (path, mask))
    assert path is not None
    return Entry(slide_id, path, patient_id, label, split, mpp, values.get("site"), mask)


def _named(text: str | None, folder: AnyPath, problems: list[str]) -> AnyPath | None:
    """Return the place that a line names; None if there is none, or, with a problem, if no file can have this path or URI."""
    try:
        return place_of(text, folder) if text else None
    except PlaceError as error:
        problems.append(str(error))
        return None


def _problem(path: AnyPath, there: Mapping[AnyPath, str]) -> str:
    """Return why a file cannot be used, "" if it can."""
    if path in there:
        return there[path]
    try:
        return "" if path.is_file() else "is not there"
    except (OSError, ValueError):  # for names that make Python raise an error: with a NUL, or too long
        return "is not there"


def _number(text: str) -> tuple[float | None, str]:
    try:
        value = float(text) if text else None
    except ValueError:
        return None, f"mpp is {text!r}, not a number"
    return value, "" if value is None or 0 < value < float("inf") else f"mpp is {text}, not above 0 um/px"


def _contradictions(table: UserTable, found: Sequence[tuple[int, Entry]], *, names_patients: bool) -> list[str]:
    """Return sentences on slides and files that are there twice, patients in several splits, and patients, labels and
    splits with two spellings.

    Links can give one file several names. That is a problem if the list gives it several patients; if the list names no patients,
    `read_list` only adds a note.
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
        one_name = len({os.path.normpath(str(entry.path)) for entry in same}) < len(ids)
        several_patients = names_patients and len({entry.patient_id for entry in same}) > 1
        if len(ids) > 1 and (one_name or several_patients):
            problems.append(f"the file {path.name} is in the list under several ids ({_lines(table, rows)})")
    entries = [entry for _, entry in found]
    problems += patients_in_several([each.patient_id for each in entries], [each.split for each in entries], "split")
    problems += slides_of_one_file([each.slide_id for each in entries])
    problems += alike([each.patient_id for each in entries], "patient_id") if names_patients else []
    problems += alike([each.label for each in entries], "label")
    return problems + alike([each.split for each in entries], "split")


def _rows_of_files(found: Sequence[tuple[int, Entry]]) -> dict[AnyPath, list[int]]:
    """Return the rows of each slide file, by its path with links resolved."""
    rows: dict[AnyPath, list[int]] = {}
    for row, entry in found:
        rows.setdefault(entry.path.resolve() if isinstance(entry.path, Path) else entry.path, []).append(row)
    return rows


def _lines(table: UserTable, rows: Sequence[int]) -> str:
    return " and ".join(table.where(row) for row in rows[:4])


def _raise(source: AnyPath, problems: Sequence[str]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = [f"  {problem}" for problem in problems[:_SHOWN]]
        more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ManifestError("\n".join([f"{source}: {count}", *shown, *more]))

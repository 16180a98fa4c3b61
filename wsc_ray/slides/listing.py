"""The list of slides: which files there are, of whom, and how they are labelled.

A CSV or TSV file with a header. Its columns are taken by their names here or by those that others use for them:

| column | also called | meaning |
| --- | --- | --- |
| path | image_path, slide_path, wsi | of the slide file; relative to the slides' folder |
| slide_id | sample_id | may be a file name; the path's stem where it is missing |
| patient_id | case_id | the slide's id where it is missing |
| label, split | | of the slide |
| mpp | spacing_at_level_0 | um/px at level 0, where the file's own is missing or wrong |

Without a column of paths, as in CLAM's lists (https://github.com/mahmoodlab/CLAM), a slide is the one file of the
slides' folder that is called `<slide_id>.<something>`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsc_ray.errors import ManifestError
from wsc_ray.files import is_file_name
from wsc_ray.places import local_path
from wsc_ray.plain_yaml import shortened

NAMES = {
    "path": ("path", "image_path", "slide_path", "wsi"),
    "slide_id": ("slide_id", "sample_id"),
    "patient_id": ("patient_id", "case_id"),
    "label": ("label",),
    "split": ("split",),
    "mpp": ("mpp", "spacing_at_level_0"),
}
_SHOWN = 20  # problems that are listed, before they are only counted


@dataclass(frozen=True)
class Entry:
    """One slide of the list.

    Attributes:
        mpp: um/px at level 0 that the list gives; None: the file's own.
    """

    slide_id: str
    path: Path
    patient_id: str
    label: str
    split: str
    mpp: float | None = None


def read_list(
    source: str | Path,
    *,
    folder: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    label_names: Mapping[str, str] | None = None,
) -> list[Entry]:
    """Read and check a list of slides; no slide is opened.

    Args:
        folder: where relative paths start; None: the list's own folder.
        columns: our name -> the list's, where it is none of those above.
        constants: our name -> one value for every slide.
        label_names: slide label in the list -> in the manifest; when given, it must name every label.

    Raises:
        ManifestError: the list cannot be read or is none, or slides of it are wrong; all problems are listed.
    """
    source = local_path(source)
    folder = local_path(folder) if folder else source.parent
    columns, constants = dict(columns or {}), dict(constants or {})
    header, rows = _read(source)
    chosen, problems = _choose(header, columns, constants)
    if not rows:
        problems.append("no slides: the list has no rows")
    _raise(source, problems)
    by_stem = None if "path" in chosen else _by_stem(folder)
    entries = []
    for number, row in rows:
        values = {name: (row.get(column) or "").strip() for name, column in chosen.items()}
        values |= {name: str(value).strip() for name, value in constants.items()}
        entries.append(_entry(number, values, folder, by_stem, label_names, problems))
    found = [entry for entry in entries if entry is not None]
    _raise(source, problems + _contradictions(found))
    return found


def _read(source: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header and the rows, each with the number of its line."""
    delimiter = "\t" if source.suffix.lower() == ".tsv" else ","
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            rows = [(reader.line_num, row) for row in reader]
            return list(reader.fieldnames or []), rows
    except FileNotFoundError:
        raise ManifestError(f"{source} does not exist; give a CSV list of slides") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{source} cannot be read as a CSV list of slides: {reason}") from None


def _choose(
    header: Sequence[str], columns: Mapping[str, str], constants: Mapping[str, str]
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
            problems.append(f"`{name}`: the list has no column `{column}`; it has {', '.join(header) or 'none'}")
    for name, names in NAMES.items():
        found = [each for each in names if each in header]
        if name not in chosen and name not in constants and found:
            chosen[name] = found[0]
    have = {*chosen, *constants}
    if not have & {"path", "slide_id"}:
        problems.append("`path` is missing: name the column of the slide files (--column path=SOURCE)")
    for name, example in (("label", "--column label=SOURCE"), ("split", "--constant split=train")):
        if name not in have:
            problems.append(f"`{name}` is missing: name its column or give a constant, such as {example}")
    return chosen, problems


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder by their names without the last suffix."""
    found: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                found.setdefault(path.stem, []).append(path)
    except OSError as error:
        raise ManifestError(f"the slides' folder {folder} cannot be read: {error.strerror or error}") from None
    return found


def _entry(
    number: int,
    values: dict[str, str],
    folder: Path,
    by_stem: Mapping[str, list[Path]] | None,
    label_names: Mapping[str, str] | None,
    problems: list[str],
) -> Entry | None:
    """The slide of a line; None where a problem has been added."""
    wrong = []
    path = folder / values["path"] if values.get("path") else None
    slide_id = values.get("slide_id") or (path.stem if path else "")
    where = f"line {number}" + (f" (slide {slide_id})" if slide_id else "")
    if by_stem is not None and slide_id:
        files = by_stem.get(slide_id, [])
        path = files[0] if len(files) == 1 else None
        if len(files) != 1:
            told = f"{len(files)} files" if files else "no file"
            wrong.append(f"{told} called {slide_id}.* in {folder}")
    elif path is None:
        wrong.append("no path")
    elif not _is_file(path):
        wrong.append(f"{shortened(str(path))} is not there")
    patient_id = values.get("patient_id") or slide_id
    for name, text in (("slide_id", slide_id), ("patient_id", patient_id)):
        if text and not is_file_name(text):
            wrong.append(f"{name} {text!r} cannot be a file name")
    for name in ("label", "split"):
        if not values.get(name):
            wrong.append(f"no {name}")
    label = values.get("label", "")
    if label_names and label:
        if label not in label_names:
            wrong.append(f"label names are given, but not for {label!r}")
        label = label_names.get(label, label)
    mpp, said = _number(values.get("mpp", ""))
    wrong += [said] if said else []
    if wrong or path is None:
        problems += [f"{where}: {each}" for each in wrong]
        return None
    return Entry(slide_id, path.absolute(), patient_id, label, values["split"], mpp)


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


def _contradictions(entries: Sequence[Entry]) -> list[str]:
    """Slides that are there twice, and patients in several splits."""
    problems = []
    slides: dict[str, int] = {}
    splits: dict[str, set[str]] = {}
    for entry in entries:
        slides[entry.slide_id] = slides.get(entry.slide_id, 0) + 1
        splits.setdefault(entry.patient_id, set()).add(entry.split)
    problems += [f"slide {name} is in the list {count} times" for name, count in slides.items() if count > 1]
    problems += [
        f"patient {name} is in several splits: {', '.join(sorted(found))}"
        for name, found in splits.items()
        if len(found) > 1
    ]
    return problems


def _raise(source: Path, problems: Sequence[str]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = [f"  {problem}" for problem in problems[:_SHOWN]]
        more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ManifestError("\n".join([f"{source}: {count}", *shown, *more]))

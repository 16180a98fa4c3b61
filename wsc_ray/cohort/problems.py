"""Find the problems of a table of slides."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from wsc_ray.cohort.cohort import KEYS, LABEL, PATIENT, SLIDE, SPLIT
from wsc_ray.files import is_file_name

# Unicode categories of invisible characters: formats such as zero-width blanks, controls, unassigned, private use.
_UNSEEN = ("Cf", "Cc", "Cn", "Co")
SHOWN = 5  # most examples that a problem names; it counts the others


def find_problems(slides: pa.Table) -> list[str]:
    """Return the reasons why a table cannot be a table of slides, one sentence each; none for a good table."""
    missing = [name for name in KEYS if name not in slides.column_names]
    if missing:
        return [f"missing columns: {', '.join(missing)}"]
    if not slides.num_rows:
        return ["no slides: the table has no rows"]
    odd = [f"`{name}` of type {slides[name].type}" for name in slides.column_names if not _is_text(slides[name])]
    if odd:
        return [f"columns that hold something else than one text, number or truth value for each slide: {listed(odd)}"]
    problems = []
    keys = {name: slides[name].cast(pa.string()).to_pylist() for name in KEYS}
    for name, values in keys.items():
        rows = [row for row, value in enumerate(values) if not value]
        if rows:
            problems.append(f"null {name}: {listed([f'row {row}' for row in rows])}")
        bad = sorted({value for value in values if value and not is_file_name(value)})
        if bad:
            problems.append(
                f"{name} that cannot be a file name (letters, digits and ._ ()+=@- only, not starting with a mark): "
                + listed([repr(value) for value in bad])
            )
    twice = sorted(name for name, count in _counted(keys[SLIDE]).items() if count > 1)
    if twice:
        problems.append(f"slides that are listed several times: {listed(twice)}")
    return problems + slides_of_one_file(keys[SLIDE])


def slides_of_one_file(ids: Iterable[str | None]) -> list[str]:
    """Return a problem that names slides whose files would be one file on disks that ignore capitals; none if there are none."""
    twins: dict[str, set[str]] = defaultdict(set)
    for name in filter(None, ids):
        twins[name.casefold()].add(name)
    pairs = sorted(" and ".join(sorted(names)) for names in twins.values() if len(names) > 1)
    if not pairs:
        return []
    return [f"slides whose ids differ only in capitals, which name one file on many disks: {listed(pairs)}"]


def _is_text(column: pa.ChunkedArray) -> bool:
    """Return whether a column can be read as text."""
    try:
        column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def find_contradictions(slides: pa.Table, *, target: str = LABEL, splits: Sequence[str | None] = (SPLIT,)) -> list[str]:
    """Return contradictions in patients, target and splits that would spoil training or evaluation, one sentence each.

    Args:
        target: column of the label.
        splits: columns of splits or folds, if there are any.
    """
    patients = slides[PATIENT].cast(pa.string()).to_pylist()
    problems = alike(patients, PATIENT)
    for split in splits:
        if split in slides.column_names:
            names = slides[split].cast(pa.string()).to_pylist()
            problems += patients_in_several(patients, names, str(split)) + alike(names, str(split))
    if target in slides.column_names:
        problems += alike(slides[target].cast(pa.string()).to_pylist(), target)
    return problems


def patients_in_several(patients: Sequence[str | None], splits: Sequence[str | None], column: str) -> list[str]:
    """Return a problem that names patients with slides in several splits; none if there are no such patients."""
    splits_of: dict[str, set[str]] = defaultdict(set)
    for patient, split in zip(patients, splits, strict=True):
        if patient and split is not None:
            splits_of[patient].add(split)
    several = {patient: sorted(names) for patient, names in splits_of.items() if len(names) > 1}
    if not several:
        return []
    cases = [f"patient {patient} has slides in {' and in '.join(names)}" for patient, names in sorted(several.items())]
    return [f"patients in several values of `{column}`; keep each in one: {listed(cases)}"]


def alike(values: Iterable[str | None], column: str) -> list[str]:
    """Return a problem that names different values of a column that people take for the same; none if there are none.

    Such values differ in capitals, blanks, composed letters (NFC, NFD), invisible characters or quotation marks; and,
    unless they are patients, in how a number or a truth value is written (`1`, `01`, `1e0`, `True`).
    """
    meaning = _letters if column == PATIENT else _meaning  # `12` and `012` may be two patients
    spellings: dict[str, set[str]] = defaultdict(set)
    for value in dict.fromkeys(values):
        if value is not None:
            spellings[meaning(value)].add(value)
    pairs = [" and ".join(map(ascii, sorted(names))) for names in spellings.values() if len(names) > 1]
    return [f"`{column}` has values that differ only in how they are written: {listed(sorted(pairs))}"] if pairs else []


def _letters(value: str) -> str:
    """Return the same text for all spellings of a text."""
    seen = "".join(mark for mark in unicodedata.normalize("NFKC", value) if unicodedata.category(mark) not in _UNSEEN)
    return "".join(seen.split()).casefold().strip("\"'`\u2018\u2019\u201c\u201d\u00b4")


def _meaning(value: str) -> str:
    """Return the same text for all spellings of a value, which may be a number or a truth value."""
    text = _letters(value)
    text = {"true": "1", "false": "0"}.get(text, text)
    try:
        number = float(text)
    except ValueError:
        return text
    return repr(number + 0.0) if number == number else text  # + 0.0: -0 is 0


def listed(examples: Sequence[str]) -> str:
    """Return the first examples as text, and how many more there are."""
    more = f" and {len(examples) - SHOWN:,} more" if len(examples) > SHOWN else ""
    return ", ".join(examples[:SHOWN]) + more


def _counted(values: Iterable[str | None]) -> Mapping[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for value in values:
        if value:
            counts[value] += 1
    return counts

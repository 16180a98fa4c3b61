"""What can be wrong with a table of slides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from wsc_ray.cohort.cohort import KEYS, LABEL, PATIENT, SLIDE, SPLIT
from wsc_ray.files import is_file_name

SHOWN = 5  # examples that a problem names, before it only counts


def find_problems(slides: pa.Table) -> list[str]:
    """Why a table of slides cannot be read as one, a sentence each; none for a good one."""
    missing = [name for name in KEYS if name not in slides.column_names]
    if missing:
        return [f"missing columns: {', '.join(missing)}"]
    if not slides.num_rows:
        return ["no slides: the table has no rows"]
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
        problems.append(f"slides that are there several times: {listed(twice)}")
    return problems


def find_contradictions(slides: pa.Table, *, target: str = LABEL, splits: Sequence[str | None] = (SPLIT,)) -> list[str]:
    """What nobody should train or be measured on, in the columns that are used; a sentence each.

    Args:
        target: column of the label.
        splits: columns of splits or folds, where there are such.
    """
    problems = []
    patients = slides[PATIENT].cast(pa.string()).to_pylist()
    for split in splits:
        if split in slides.column_names:
            problems += patients_in_several(patients, slides[split].cast(pa.string()).to_pylist(), str(split))
    if target in slides.column_names:
        problems += differ_in_capitals(slides[target].cast(pa.string()).to_pylist(), target)
    return problems


def patients_in_several(patients: Sequence[str | None], splits: Sequence[str | None], column: str) -> list[str]:
    """A sentence where a patient has slides in several splits, else nothing."""
    found: dict[str, set[str]] = defaultdict(set)
    for patient, split in zip(patients, splits, strict=True):
        if patient and split is not None:
            found[patient].add(split)
    several = {patient: sorted(names) for patient, names in found.items() if len(names) > 1}
    if not several:
        return []
    told = [f"patient {patient} has slides in {' and in '.join(names)}" for patient, names in sorted(several.items())]
    return [f"patients in several values of `{column}`; keep each in one: {listed(told)}"]


def differ_in_capitals(values: Iterable[str | None], column: str) -> list[str]:
    """A sentence where two values of a column are the same but for capitals and blanks, else nothing."""
    same: dict[str, set[str]] = defaultdict(set)
    for value in values:
        if value is not None:
            same["".join(value.split()).lower()].add(value)
    pairs = [" and ".join(map(repr, sorted(names))) for names in same.values() if len(names) > 1]
    return [f"`{column}` has values that differ in capitals or blanks alone: {listed(sorted(pairs))}"] if pairs else []


def listed(examples: Sequence[str]) -> str:
    """The first examples, and how many more there are."""
    more = f" and {len(examples) - SHOWN:,} more" if len(examples) > SHOWN else ""
    return ", ".join(examples[:SHOWN]) + more


def _counted(values: Iterable[str | None]) -> Mapping[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for value in values:
        if value:
            counts[value] += 1
    return counts

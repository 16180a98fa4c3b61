"""Count the patches, slides and patients of a manifest, by split and slide label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wsc_ray.cohort import Cohort
from wsc_ray.cohort.cohort import LABEL, PATIENT, SLIDE, SPLIT

NONE = "(none)"  # stands for a missing label or split


def count(cohort: Cohort, patches: Mapping[str, int]) -> dict[str, Any]:
    """Return totals, and the same for every split and slide label, of slides that have patches.

    Args:
        patches: number of patches of each slide.

    Returns:
        `patches`, `slides`, `patients`, and `splits`: split -> label -> the same three.
    """
    columns = [cohort.texts(name) if name in cohort.slides.column_names else [None] * len(cohort) for name in _COLUMNS]
    rows = [row for row in zip(*columns, strict=True) if patches.get(row[0] or "")]
    cells: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        cells.setdefault((row[3] or NONE, row[2] or NONE), []).append(row)
    splits: dict[str, dict[str, dict[str, int]]] = {}
    for split, label in sorted(cells):
        splits.setdefault(split, {})[label] = _totals(cells[split, label], patches)
    return {**_totals(rows, patches), "splits": splits}


_COLUMNS = (SLIDE, PATIENT, LABEL, SPLIT)


def _totals(rows: Iterable[tuple[Any, ...]], patches: Mapping[str, int]) -> dict[str, int]:
    rows = list(rows)
    return {
        "patches": sum(patches[slide] for slide, *_ in rows),
        "slides": len(rows),
        "patients": len({patient for _, patient, *_ in rows}),
    }

"""`wsc-ray manifest check --features`: checking that slides of different patients are not copies of each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsc_ray.cohort.cohort import SPLIT
from wsc_ray.errors import ManifestError
from wsc_ray.features.store import read_slides
from wsc_ray.neighbours.duplicates import Copies, find_copies, nearest_of_others
from wsc_ray.neighbours.vectors import PatchVectors, load_vectors
from wsc_ray.storage import as_path
from wsc_ray.uris import shown

_SHOWN = 20  # largest number of pairs that the message names; it counts the rest


def refuse_copies(features: str | Path) -> dict[str, Any]:
    """Check that the patients of a feature store share no near-duplicates.

    Returns:
        `patches_compared`, and `exact` and `recall_at_10` of the search.

    Raises:
        ManifestError: slides of different patients share patches; they are named, those in different splits first.
        DataError: the features cannot be used.
    """
    store = as_path(features)
    cohort = read_slides(store)
    patches = load_vectors(store, cohort)
    nearest, chance, index = nearest_of_others(patches)
    copies = find_copies(patches, nearest, chance)
    if copies:
        columns = cohort.slides.column_names
        splits = dict(zip(cohort.ids, cohort.texts(SPLIT), strict=True)) if SPLIT in columns else {}
        raise ManifestError(_sentence(shown(store), patches, copies, splits))
    return {"patches_compared": len(patches), "exact": index.exact, "recall_at_10": round(index.recall, 4)}


def _sentence(store: str, patches: PatchVectors, copies: Sequence[Copies], splits: dict[str, str | None]) -> str:
    def across(pair: Copies) -> bool:
        return splits.get(pair.slides[0]) != splits.get(pair.slides[1])

    ordered = sorted(copies, key=lambda pair: not across(pair))  # stable: the most patches first within each
    lines = []
    for pair in ordered[:_SHOWN]:
        (one, other), (row, copy) = pair.slides, pair.example
        where = f" (splits {splits.get(one)} and {splits.get(other)})" if across(pair) else ""
        x, y = patches.coords[row].tolist()
        copy_x, copy_y = patches.coords[copy].tolist()
        lines.append(
            f"  {one} and {other}{where}: {pair.patches:,} patches alike, such as {x},{y} and {copy_x},{copy_y}"
        )
    if len(ordered) > _SHOWN:
        lines.append(f"  and {len(ordered) - _SHOWN:,} more")
    counted = "1 pair of slides" if len(copies) == 1 else f"{len(copies):,} pairs of slides"
    return (
        f"{store}: {counted} of different patients share patches that are copies by their features; look at them with "
        "`wsc-ray neighbours search`, and give copies one patient_id or leave them out\n" + "\n".join(lines)
    )

"""The slides to predict, once their features are in a store."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wsc_ray.cohort import COHORT_FILE, Cohort
from wsc_ray.cohort.cohort import PATCHES, PATIENT
from wsc_ray.feature_files.files import slide_path
from wsc_ray.features.store import read_slides
from wsc_ray.predict.bag import Asked
from wsc_ray.predict.cutting import Cutting
from wsc_ray.slides.listing import SlideList
from wsc_ray.storage import AnyPath
from wsc_ray.tiling.job import UNREADABLE

MANIFEST, FEATURES = "manifest", "features"  # folders in the output, for the patches and features of slides to predict


def of_cohort(cohort: Cohort, store: AnyPath) -> list[Asked]:
    """Return the slides of a cohort whose features are in a store."""
    columns = cohort.slides.column_names
    none: list[None] = [None] * len(cohort)
    patches = cohort.slides[PATCHES].to_pylist() if PATCHES in columns else none
    numbers = "mpp" in columns and pa.types.is_floating(cohort.slides["mpp"].type)
    scales = cohort.slides["mpp"].to_pylist() if numbers else none
    found = []
    for slide, patient, count, mpp in zip(cohort.ids, cohort.texts(PATIENT), patches, scales, strict=True):
        each = Asked(slide, patient, slide_path(store, slide), patches=count, mpp=mpp)
        found.append(each.without("it has no patches") if count == 0 else each)
    return found


def of_list(
    listed: SlideList, tiled: Mapping[str, Any], unread: Mapping[str, str], cutting: Cutting, out: AnyPath
) -> list[Asked]:
    """Return the slides of a list after `tile` and `embed`.

    Args:
        tiled: the summary of `tile`.
        unread: the slides that `embed` could not read, each with the reason.
    """
    scales = _scales(out / FEATURES)
    bad = _unreadable_patches(out / MANIFEST)
    without, found = set(tiled["slides_without_tissue"]), []
    for entry in listed.entries:
        name = entry.slide_id
        each = Asked(name, entry.patient_id, slide_path(out / FEATURES, name), mpp=scales.get(name))
        if name in bad:
            count, reason = bad[name]
            each = Asked(name, entry.patient_id, each.path, f"{count:,} patches cannot be read: {reason}", mpp=each.mpp)
        reason = tiled["slides_left_out"].get(name) or unread.get(name)
        if reason:
            each = each.without(f"it cannot be read: {reason}")
        elif name in without:
            each = each.without(f"it has no patch with {cutting.tissue:.0%} tissue")
        elif name not in scales:
            each = each.without("it has no patches")
        found.append(each)
    return found


def _scales(store: AnyPath) -> dict[str, float | None]:
    """Return um/px of level 0 of each slide in a store; empty if there is no store."""
    if not (store / COHORT_FILE).is_file():
        return {}
    cohort = read_slides(store)
    return {each.slide_id: each.mpp for each in of_cohort(cohort, store) if each.path is not None}


def _unreadable_patches(manifest: AnyPath) -> dict[str, tuple[int, str]]:
    """Return, for each slide, the number of patches that could not be read and the reason of the first."""
    found: dict[str, tuple[int, str]] = {}
    names = sorted(path.name for path in (manifest / UNREADABLE).glob("*.csv"))
    for name in names:
        text = (manifest / UNREADABLE / name).read_text(encoding="utf-8")
        for row in csv.DictReader(io.StringIO(text)):
            count, reason = found.get(row["slide_id"], (0, row["reason"]))
            found[row["slide_id"]] = (count + 1, reason)
    return found

"""`wsc-ray neighbours search`: the nearest patches, in other slides, of one patch or of every patch of a slide."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.features.store import read_slides
from wsc_ray.files import atomic, write_summary
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.neighbours.contact_sheet import Place, find_images, write_sheet
from wsc_ray.neighbours.index import PatchIndex
from wsc_ray.neighbours.vectors import PatchVectors, load_vectors
from wsc_ray.stage import claim_folder, write_identity
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown

NEAREST, SHEET = "nearest.csv", "nearest.png"
SHEET_ROWS = 12  # queries in the picture: those with the nearest neighbours
SHEET_COLUMNS = 16


def search_neighbours(
    *,
    features: str | Path,
    slide: str,
    patch: str | None = None,
    out: str | Path,
    manifest: str | Path | None = None,
    count: int = 10,
) -> dict[str, Any]:
    """Write the nearest patches as a table, and as a picture where a manifest has the pixels.

    Args:
        features: the feature store.
        slide: the slide whose patches are the queries.
        patch: `X,Y` of one of its patches, in level-0 px; None for all.
        out: the output folder.
        manifest: the manifest with the pixels, for the picture.
        count: the number of patches to find for each query.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        DataError: the slide or patch does not exist, or the features cannot be used.
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    store, place = as_path(features), as_path(out)
    claim_folder("neighbours search", place)
    at = _position(patch)
    pixels = open_manifest(str(manifest)) if manifest is not None else None
    patches = load_vectors(store, read_slides(store))
    own = patches.rows(slide)
    queries = _queries(patches, slide, own, at)
    index = PatchIndex(patches.vectors, len(queries))
    cosines, nearest = index.search(patches.vectors[queries], count, without=own)
    if not len(nearest) or nearest[0, 0] < 0:
        raise DataError(f"{shown(store)} has no patch of another slide than {slide}; there is nothing to compare with")
    write_identity(place, "neighbours search", {"features": shown(store), "slide": slide, "patch": patch})
    _write_table(place / NEAREST, patches, queries, cosines, nearest)
    if pixels is not None:
        _write_picture(place / SHEET, pixels, patches, queries, cosines, nearest)
    return write_summary(
        place,
        "neighbours search",
        {
            "features": shown(store),
            "slide": slide,
            "patches_asked": len(queries),
            "patches_compared": len(patches) - len(own),
            "exact": index.exact,
            "recall_at_10": round(index.recall, 4),
            "nearest": _describe(patches, cosines, nearest),
            "table": shown(place / NEAREST),
            "picture": shown(place / SHEET) if pixels is not None else None,
        },
    )


def _position(patch: str | None) -> tuple[int, int] | None:
    if patch is None:
        return None
    parts = patch.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise DataError(f"--patch: X,Y of a patch in level-0 px, such as 1024,512, not {patch[:40]!r}")
    return int(parts[0]), int(parts[1])


def _queries(patches: PatchVectors, slide: str, own: range, at: tuple[int, int] | None) -> np.ndarray:
    """Return the rows of the queries."""
    rows = np.arange(own.start, own.stop)
    if not len(rows):
        raise DataError(f"slide {slide} has no patches")
    if at is None:
        return rows
    coords = patches.coords[rows]
    rows = rows[(coords == at).all(axis=1)]
    if not len(rows):
        near = coords[np.abs(coords - at).sum(axis=1).argmin()]
        raise DataError(f"slide {slide} has no patch at {at[0]},{at[1]}; the nearest is at {near[0]},{near[1]}")
    return rows[:1]


def _place(patches: PatchVectors, slide_of: np.ndarray, row: int) -> Place:
    return (patches.slide_ids[slide_of[row]], int(patches.coords[row, 0]), int(patches.coords[row, 1]))


def _write_table(
    path: AnyPath, patches: PatchVectors, queries: np.ndarray, cosines: np.ndarray, nearest: np.ndarray
) -> None:
    """Write `nearest.csv`, one row for each patch that was found."""
    slide_of = patches.slide_of
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["x", "y", "rank", "nearest_slide_id", "nearest_patient_id", "nearest_x", "nearest_y", "cosine"]
        )
        for row, near, values in zip(queries.tolist(), nearest, cosines, strict=True):
            x, y = patches.coords[row].tolist()
            for rank, (other, cosine) in enumerate(zip(near.tolist(), values.tolist(), strict=True), start=1):
                if other >= 0:
                    name, other_x, other_y = _place(patches, slide_of, other)
                    patient = patches.patient_ids[slide_of[other]]
                    writer.writerow([x, y, rank, name, patient, other_x, other_y, f"{cosine:.6f}"])


def _write_picture(
    path: AnyPath,
    manifest: Manifest,
    patches: PatchVectors,
    queries: np.ndarray,
    cosines: np.ndarray,
    nearest: np.ndarray,
) -> None:
    slide_of = patches.slide_of
    best = np.argsort(-cosines[:, 0], kind="stable")[:SHEET_ROWS]
    rows = []
    for number in best.tolist():
        place = _place(patches, slide_of, int(queries[number]))
        row = [(place, f"{place[1]},{place[2]}")]
        for other, cosine in zip(nearest[number].tolist(), cosines[number].tolist(), strict=True):
            if other >= 0:
                row.append((_place(patches, slide_of, other), f"cosine {cosine:.3f}"))
        rows.append(row[: SHEET_COLUMNS + 1])
    write_sheet(path, rows, find_images(manifest, [place for row in rows for place, _ in row]))


def _describe(patches: PatchVectors, cosines: np.ndarray, nearest: np.ndarray) -> list[str]:
    """Return the slides that hold most of the nearest patches, with their numbers, as texts."""
    near = nearest[:, 0]
    slides, counts = np.unique(patches.slide_of[near[near >= 0]], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:5]
    return [f"{patches.slide_ids[slides[place]]} ({counts[place]:,})" for place in order.tolist()]

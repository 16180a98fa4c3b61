"""The command: a list of slides -> a manifest with their patches.

Grids come first, a slide each, and then everything about the manifest is known but its pixels: which file holds which
rows. Each of its files is then cut by itself, on any machine, so that a command that was interrupted goes on with the
slides and files that are missing, and ends with the same manifest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.files import read_json, write_json, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.counts import count
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.manifest.write import ROW_GROUP_ROWS
from wsc_ray.slides.listing import Entry, read_list
from wsc_ray.slides.slide import choose_reader
from wsc_ray.slides.slide_grid import Settings, SlideGrid, known
from wsc_ray.storage import AnyPath, as_path, check_store, shown
from wsc_ray.tiling.job import TilingJob, clear_unfinished, cut_all, look_at_all
from wsc_ray.tiling.layout import Layout, lay_out
from wsc_ray.tracking import Tracker, connect, tracking_uri

EXPERIMENT = "wsc-ray"
IDENTITY = "tile.json"
FILE_ROWS = 4096  # a file is what a crash loses, and what one CPU works on


def tile_slides(
    *,
    slides: str | Path,
    out: str | Path,
    folder: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    label_names: Mapping[str, str] | None = None,
    mpp: float = 0.5,
    patch_size: int = 256,
    overlap: int = 0,
    tissue: float = 0.5,
    quality: int = 90,
    reader: str = "auto",
    skip_bad: bool = False,
    row_group_rows: int = ROW_GROUP_ROWS,
    file_rows: int = FILE_ROWS,
    seed: int = 0,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Cut the tissue of slides into patches and write them as a manifest; what is there already is left out.

    Args:
        slides: CSV or TSV list, see `wsc_ray.slides.listing`.
        out: folder for the manifest, a URI or a path that every node mounts; beside `patches/` it holds `coords/` (TRIDENT's
            files), `previews/` (pictures of what was kept) and `summary.json`.
        folder: where the list's relative paths start; None: the list's own folder.
        columns: our name -> the list's column, where the names differ.
        constants: our name -> one value for every slide.
        label_names: slide label in the list -> in the manifest; when given, it must name every label.
        mpp: um/px of the patches; 0.5 is 20x.
        patch_size, overlap: side of a patch and its overlap with the next one, px at that scale.
        tissue: least share of a patch that is tissue.
        quality: of the JPEGs, 1 to 100.
        reader: openslide, cucim, a plug-in's, or auto: the first of the two that is installed.
        skip_bad: leave out slides and patches that cannot be read, instead of stopping.
        row_group_rows, file_rows, seed: as in `manifest_import`.
        dry_run: check the list and what is there, and do nothing.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        ManifestError: the list is wrong; all problems are listed.
        DataError: slides or patches cannot be read, or hold no tissue at all; the others are done by then.
        RunFolderError: `out` is taken by something else, or by patches of other settings or other slides.
    """
    out = as_path(out)
    settings = Settings(mpp=mpp, size=patch_size, overlap=overlap, tissue=tissue, reader=choose_reader(reader))
    _check(settings, quality, row_group_rows, file_rows)
    entries = read_list(slides, folder=folder, columns=columns, constants=constants, label_names=label_names)
    job = TilingJob(entries, settings, quality, out, skip_bad)
    cutting = {"quality": quality, "row_group_rows": row_group_rows, "file_rows": file_rows, "seed": seed}
    identity = {**asdict(settings), **cutting, "list": _digest(entries)}
    laid_out = _check_folder(out, identity)
    looked = [known(entry, settings, out) for entry in entries]
    plan = {
        "slides": str(slides),
        "out": shown(out),
        "mpp": mpp,
        "patch_size": patch_size,
        "overlap": overlap,
        "tissue": tissue,
        "reader": settings.reader,
        "listed": len(entries),
        "looked_at": sum(each is not None for each in looked),
    }
    if dry_run:
        return {**plan, "splits": _splits(entries)}
    uri = tracking_uri(None, out)
    connect(uri, EXPERIMENT)
    started = time.time()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{out} cannot be made: {error.strerror or error}") from None
    if laid_out is None:
        write_json(out / IDENTITY, {**identity, "layout": None})
    with Tracker(uri=uri, experiment=EXPERIMENT, folder=out, command="tile", params={**plan, **identity}) as tracker:
        looked, bad = look_at_all(job, looked)
        rows = lay_out(entries, looked, row_group_rows=row_group_rows, file_rows=file_rows, seed=seed)
        if not rows.table.num_rows:
            raise DataError(
                f"none of the {len(entries):,} slides has a patch with {tissue:.0%} tissue; look at {out / 'previews'}"
            )
        digest = rows.digest
        if laid_out not in (None, digest):
            raise RunFolderError(
                f"{out} holds patches of these slides as they were: some have changed, or can be read now that could not; give "
                "another --out, or delete it"
            )
        write_json(out / IDENTITY, {**identity, "layout": digest})
        done = cut_all(job, looked, rows)
        clear_unfinished(out)
        summary = {
            **plan,
            **_summary(out, entries, looked, bad, rows),
            "patches_cut": done,
            "seconds": round(time.time() - started, 1),
        }
        tracker.log_metrics({"patches": summary["patches"], "seconds": summary["seconds"]})
        tracker.log_dataset(name=out.name, digest=summary["digest"], source=shown(out), context="tiling")
        summary["mlflow"] = {"run_id": tracker.run_id, "look": tracker.ui_command}
        return write_summary(out, "tile", summary)


def _check(settings: Settings, quality: int, row_group_rows: int, file_rows: int) -> None:
    wrong = [
        sentence
        for right, sentence in (
            (0 < settings.mpp < float("inf"), f"--mpp {settings.mpp:g}: give um/px above 0"),
            (settings.size >= 8, f"--patch-size {settings.size}: give 8 px or more"),
            (
                0 <= settings.overlap < settings.size,
                f"--overlap {settings.overlap}: give 0 or more px, less than a patch",
            ),
            (0 <= settings.tissue <= 1, f"--tissue {settings.tissue:g}: give a share from 0 to 1"),
            (1 <= quality <= 100, f"--quality {quality}: give 1 to 100"),
            (1 <= row_group_rows <= file_rows, "--row-group-rows: give 1 or more, and --file-rows the larger"),
        )
        if not right
    ]
    if wrong:
        raise DataError("; ".join(wrong))


def _check_folder(out: AnyPath, identity: Mapping[str, Any]) -> str | None:
    """The digest of the layout whose files `out` may already hold; None where there is none.

    Raises:
        RunFolderError: it holds something else.
    """
    check_store(out)
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; give a folder for the manifest")
    if not out.exists() or not any(out.iterdir()):
        return None
    try:
        there = read_json(out / IDENTITY)
        layout = there.pop("layout")
    except (OSError, ValueError, KeyError, AttributeError):
        raise RunFolderError(f"{out} is not empty and was not made by `wsc-ray tile`; give another --out") from None
    if not any((out / PATCHES).glob("*.parquet")):
        return None
    differs = [name for name in identity if there.get(name) != identity[name]]
    if differs:
        told = ", ".join("other slides" if name == "list" else f"{name} {there.get(name)}" for name in differs)
        raise RunFolderError(f"{out} holds patches of {told}; give another --out, or delete it")
    return layout


def _summary(
    out: AnyPath, entries: Sequence[Entry], looked: Sequence[SlideGrid], bad: Mapping[str, str], rows: Layout
) -> dict[str, Any]:
    manifest = open_manifest(str(out))
    counted = count(manifest.read_rows(["slide_id", "patient_id", "label", "split"]))
    counted["slides_cut"] = counted.pop("slides")
    without = [entry.slide_id for entry, found in zip(entries, looked, strict=True) if not len(found.coords)]
    return counted | {
        "files": len(rows.files),
        "digest": manifest.digest,
        "slides_left_out": dict(bad),
        "slides_without_tissue": [slide for slide in without if slide not in bad],
        "patches_left_out": rows.table.num_rows - counted["patches"],
    }


def _digest(entries: Sequence[Entry]) -> str:
    """SHA-256 (hex) of what the list says, but for where the files lie."""
    said = [[entry.slide_id, entry.patient_id, entry.label, entry.split, entry.mpp] for entry in entries]
    return hashlib.sha256(json.dumps(sorted(said, key=lambda line: line[0])).encode()).hexdigest()


def _splits(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """Split -> label -> slides."""
    found: dict[str, dict[str, int]] = {}
    for entry in sorted(entries, key=lambda each: (each.split, each.label)):
        labels = found.setdefault(entry.split, {})
        labels[entry.label] = labels.get(entry.label, 0) + 1
    return found

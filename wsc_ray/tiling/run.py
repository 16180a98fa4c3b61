"""The command: a list of slides -> a manifest with their patches.

First every slide gets its grid. The grids determine all of the manifest except its pixels, including the rows of each file. Each file is
then cut independently, on any machine. An interrupted command therefore goes on with the slides and files that are missing, and ends
with the same manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsc_ray.cohort import Cohort, write_cohort
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.counts import NONE, count
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.manifest.write import ROW_GROUP_ROWS
from wsc_ray.slides.listing import Entry, read_list
from wsc_ray.slides.masks import find_masks, mask_identity
from wsc_ray.slides.ranges import REQUESTS
from wsc_ray.slides.slide import choose_reader
from wsc_ray.slides.slide_grid import DETECTOR, Settings, SlideGrid, known
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other, write_identity
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tiling.artifact import log_page
from wsc_ray.tiling.cohort import slide_table
from wsc_ray.tiling.job import UNREADABLE, TilingJob, clear_unfinished, cut_all, look_at_all, problems_of
from wsc_ray.tiling.layout import Layout, lay_out
from wsc_ray.tiling.page import PAGE, dropped, write_page
from wsc_ray.tracking import Tracker
from wsc_ray.uris import has_secrets, shown

EXPERIMENT = "wsc-ray"
FILE_ROWS = 4096  # a file is the work of one CPU, and the most that it loses in a crash
_WORDS = {
    "list": "the list: it names other slides, other places of them, or other masks",
    "detector": "tissue is found in another way than by the version that cut these patches",
}
LINKED = (
    "stored-tiles",
    "openslide",
)  # readers with the same pixels: any of them may be installed where the rows are read


def tile_slides(
    *,
    slides: str | Path,
    out: str | Path,
    folder: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    label_names: Mapping[str, str] | None = None,
    mpp: float | Sequence[float] = 0.5,
    patch_size: int = 256,
    overlap: int = 0,
    tissue: float = 0.5,
    masks: str | Path | None = None,
    quality: int = 90,
    link: bool = False,
    reader: str = "auto",
    skip_bad: bool = False,
    row_group_rows: int = ROW_GROUP_ROWS,
    file_rows: int = FILE_ROWS,
    seed: int = 0,
    to_predict: bool = False,
    tracking: str | None = None,
    experiment: str = EXPERIMENT,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Cut the tissue of slides into patches and write them as a manifest; slides and files that are done are skipped.

    Args:
        slides: a list of slides (CSV, TSV or Parquet) or a folder of slides; see `wsc_ray.slides.listing`.
        out: folder for the manifest, a URI or a path that every node mounts; beside `patches/` it holds `coords/` (TRIDENT's
            files), `previews/` (pictures with the kept patches), `slides.html` (all slides on a page) and `summary.json`.
        folder: folder that the list's relative paths start from; None for the list's own folder.
        columns: name in `wsc_ray.slides.listing` -> column of the list.
        constants: name in `wsc_ray.slides.listing` -> one value for every slide.
        label_names: label in the list -> label in the manifest; if given, it must have every label.
        mpp: um/px of the patches; 0.5 is 20x. With several values every slide is cut at each of them.
        patch_size, overlap: side of a patch and its overlap with the next one, px at that scale.
        tissue: smallest share of tissue in a patch; 0 keeps every patch of the grid.
        masks: folder with tissue masks, see `wsc_ray.slides.masks`; alternatively the list's column `mask` names a file for each
            slide. Tissue is detected on slides without a mask.
        quality: quality of the JPEGs, 1 to 100.
        link: write rows that point into the slides, without pixels; training and `embed` then read the slides.
        reader: stored-tiles, openslide, cucim, a plug-in's, or auto: the first of these three that is installed.
        skip_bad: leave out slides and patches that cannot be read, instead of stopping.
        row_group_rows, file_rows, seed: as in `manifest_import`.
        to_predict: the slides are to be predicted. They need no labels and splits, and it is no error if none of them has a patch:
            then no manifest is written, and the summary has 0 patches.
        tracking: URI of the MLflow store; None to find it as usual.
        experiment: the MLflow experiment.
        dry_run: check the list and the output folder, and do nothing.

    Returns:
        The summary, also in `OUT/summary.json`; on a dry run the plan.

    Raises:
        ManifestError: the list is wrong; all problems are listed.
        DataError: slides or patches cannot be read, or no slide has tissue; all other slides and patches are done by then.
        RunFolderError: `out` holds something else, or patches with other settings or of other slides.
    """
    out = as_path(out)
    mpps = (float(mpp),) if isinstance(mpp, int | float) else tuple(float(each) for each in mpp)
    settings = Settings(mpps=mpps, size=patch_size, overlap=overlap, tissue=tissue, reader=_reader(reader, link))
    _check(settings, quality, row_group_rows, file_rows)
    listed = read_list(
        slides,
        folder=folder,
        columns=columns,
        constants=constants,
        label_names=label_names,
        labelled=not to_predict,
    )
    _refuse_kept_secrets(listed.entries, link=link)
    entries, masked = _with_masks(listed.entries, masks)
    job = TilingJob(entries, settings, None if link else quality, out, skip_bad)
    cutting = {
        "quality": None if link else quality,
        "row_group_rows": row_group_rows,
        "file_rows": file_rows,
        "seed": seed,
    }
    identity = {**_identity(settings), **cutting, "list": digest_of_list(entries, link=link)}
    laid_out = _layout_there(out, identity)
    with ThreadPoolExecutor(REQUESTS) as pool:  # which saves time only where slides or results are on an object store
        looked = list(pool.map(lambda entry: known(entry, settings, out), entries))
    plan = {
        "slides": shown(slides),
        "out": shown(out),
        "mpp": list(mpps) if len(mpps) > 1 else mpps[0],
        "patch_size": patch_size,
        "overlap": overlap,
        "tissue": tissue,
        "reader": settings.reader,
        "link": link,
        "listed": len(entries),
        "looked_at": sum(each is not None for each in looked),
        "notes": [*listed.notes, *masked],
    }
    if dry_run:
        return {**plan, "splits": _splits(entries)}
    store = open_store(tracking, experiment, out)

    def work(tracker: Tracker) -> dict[str, Any]:
        grids = look_at_all(job, looked)
        log_page(tracker, out, write_page(out, entries, grids, settings))
        bad = problems_of(job, grids)
        pairs = [(entry, grid) for entry, found in zip(entries, grids, strict=True) for grid in found]
        rows = lay_out(pairs, row_group_rows=row_group_rows, file_rows=file_rows, seed=seed)
        if not rows.table.num_rows and to_predict:
            return {"patches": 0, **_slides_without_patches(entries, grids, bad)}
        if not rows.table.num_rows:
            raise DataError(
                f"none of the {len(entries):,} slides has a patch with {tissue:.0%} tissue; look at {out / PAGE}"
            )
        if laid_out not in (None, rows.digest):
            raise RunFolderError(
                f"{out} holds patches of these slides as they were: some have changed, or can be read now that could not; give "
                "another --out, or delete it"
            )
        write_identity(out, "tile", {**identity, "layout": rows.digest})
        cohort = write_cohort(out, slide_table(entries, [found[0] for found in grids], bad))
        done = cut_all(job, pairs, rows)
        clear_unfinished(out)
        summary = {
            **_summary(out, settings, cohort, entries, grids, bad, rows),
            "patches_cut": done,
            "page": shown(out / PAGE),
        }
        if not summary["patches"] and not to_predict:
            raise DataError(f"none of the {rows.table.num_rows:,} patches can be read; {out / UNREADABLE} says why")
        tracker.log_results({"patches": summary["patches"]})
        tracker.log_dataset(name=out.name, digest=summary["digest"], source=shown(out), context="tiling")
        return summary

    now = {**identity, "layout": laid_out}
    return carry_out("tile", out=out, identity=now, plan=plan, params={**plan, **identity}, store=store, work=work)


def _with_masks(entries: Sequence[Entry], masks: str | Path | None) -> tuple[tuple[Entry, ...], list[str]]:
    """Return the slides with the masks of a folder, and a note on how many have a mask.

    Raises:
        DataError: the list names masks too, or the folder has no mask of these slides.
    """
    if masks is not None:
        if any(entry.mask is not None for entry in entries):
            raise DataError("--masks: the list has a column of masks, too; give one of them")
        found = find_masks(as_path(masks), [(entry.slide_id, entry.path) for entry in entries])
        entries = [replace(entry, mask=found.get(entry.slide_id)) for entry in entries]
    count = sum(entry.mask is not None for entry in entries)
    note = f"{count:,} of {len(entries):,} slides have a mask; tissue is looked for on the others"
    return tuple(entries), [note] if 0 < count < len(entries) else []


def _refuse_kept_secrets(entries: Sequence[Entry], *, link: bool) -> None:
    """Check that rows which point into slides hold no password.

    Raises:
        DataError: the address of a slide holds one.
    """
    for entry in entries if link else ():
        if has_secrets(str(entry.path)):
            raise DataError(
                f"--link: the address of slide {entry.slide_id} holds a password or key, which the manifest would keep; take it out, and "
                "give it to the nodes, as an IAM role or in their environment"
            )


def _identity(settings: Settings) -> dict[str, Any]:
    """Return the settings in the form of identities; a single scale is a number, as in older versions."""
    values = dict(vars(settings))
    mpps = values.pop("mpps")
    detector = {"detector": DETECTOR} if settings.tissue > 0 else {}  # at 0 every patch is kept, whatever is detected
    return {"mpp": mpps[0] if len(mpps) == 1 else list(mpps), **values, **detector}


def _reader(name: str, link: bool) -> str:
    if link and (name not in ("auto", *LINKED) or choose_reader(name) not in LINKED):
        raise DataError(f"--link: rows that point into slides are read by {' or '.join(LINKED)}, and not by {name}")
    return choose_reader(name)


def _check(settings: Settings, quality: int, row_group_rows: int, file_rows: int) -> None:
    wrong = [
        sentence
        for right, sentence in (
            (
                len(settings.mpps) > 0 and all(0 < mpp <= 1000 for mpp in settings.mpps),
                f"--mpp {','.join(f'{mpp:g}' for mpp in settings.mpps)}: give um/px above 0, 1000 at most",
            ),
            (
                len({f"{mpp:g}" for mpp in settings.mpps}) == len(settings.mpps),
                f"--mpp {','.join(f'{mpp:g}' for mpp in settings.mpps)}: give each scale once",
            ),
            (8 <= settings.size <= 16_384, f"--patch-size {settings.size}: give 8 px or more, 16384 at most"),
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


def _layout_there(out: AnyPath, identity: Mapping[str, Any]) -> str | None:
    """Return the digest of the layout whose files `out` holds; None if it holds no files.

    Raises:
        RunFolderError: `out` holds something else.
    """
    known = claim_folder("tile", out)
    if known is None or not any((out / PATCHES).glob("*.parquet")):
        return None
    refuse_other(out, "patches", known, identity, words=_WORDS)
    return known.get("layout")


def _summary(
    out: AnyPath,
    settings: Settings,
    cohort: Cohort,
    entries: Sequence[Entry],
    looked: Sequence[Sequence[SlideGrid]],
    bad: Mapping[str, str],
    rows: Layout,
) -> dict[str, Any]:
    manifest = open_manifest(str(out))
    counted = count(cohort, manifest.runs().patches())
    counted["slides_cut"] = counted.pop("slides")
    return counted | {
        **({"patches_by_mpp": _of_scales(settings, looked)} if len(settings.mpps) > 1 else {}),
        "patches_dropped": dict(sorted(dropped([grid for found in looked for grid in found]).items())),
        "files": len(rows.files),
        "digest": manifest.digest,
        "cohort_digest": cohort.digest(),
        "patches_left_out": rows.table.num_rows - counted["patches"],
        **_slides_without_patches(entries, looked, bad),
    }


def _of_scales(settings: Settings, looked: Sequence[Sequence[SlideGrid]]) -> dict[str, int]:
    """Return the number of kept patches at each scale in um/px, including those that cannot be read."""
    counts = [0] * len(settings.mpps)
    for found in looked:
        for place, grid in enumerate(found):
            counts[place] += len(grid.coords)
    return {f"{mpp:g}": count for mpp, count in zip(settings.mpps, counts, strict=True)}


def _slides_without_patches(
    entries: Sequence[Entry], looked: Sequence[Sequence[SlideGrid]], bad: Mapping[str, str]
) -> dict[str, Any]:
    """Return the slides that could not be read, with the reasons, and those that have no tissue."""
    without = [
        entry.slide_id
        for entry, found in zip(entries, looked, strict=True)
        if not any(len(grid.coords) for grid in found)
    ]
    return {
        "slides_left_out": dict(bad),
        "slides_without_tissue": [slide for slide in without if slide not in bad],
    }


def digest_of_list(entries: Sequence[Entry], *, link: bool) -> str:
    """Return the SHA-256 (hex) of the list: of the slides' facts and masks, and of their paths if rows point there."""
    lines = [
        [
            *(entry.slide_id, entry.patient_id, entry.label, entry.split, entry.mpp),
            *([shown(entry.path)] if link else []),
            *([] if entry.mask is None else mask_identity(entry.mask)),
        ]
        for entry in entries
    ]
    return hashlib.sha256(json.dumps(sorted(lines, key=lambda line: line[0])).encode()).hexdigest()


def _splits(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """Return split -> label -> number of slides."""
    found: dict[str, dict[str, int]] = {}
    for split, label in sorted((entry.split or NONE, entry.label or NONE) for entry in entries):
        labels = found.setdefault(split, {})
        labels[label] = labels.get(label, 0) + 1
    return found

"""`wsc-ray manifest check`: count what a manifest holds, or list everything that is wrong with it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort import Cohort
from wsc_ray.cohort.problems import find_contradictions, listed
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.files import write_summary
from wsc_ray.manifest.counts import count
from wsc_ray.manifest.problems import SHOWN, find_problems
from wsc_ray.manifest.read import Manifest, open_any
from wsc_ray.manifest.runs import Runs
from wsc_ray.manifest.schema import PIXELS
from wsc_ray.manifest.verify import wrong_files
from wsc_ray.pixels import PixelSource, Unreadable
from wsc_ray.progress import Progress
from wsc_ray.stage import claim_folder, write_identity
from wsc_ray.storage import as_path

_AT_A_TIME = 16  # fewest images to sample from a row group, since reading one image costs the bytes of them all


def check_manifest(
    *,
    manifest: str | Path,
    all: bool = False,
    sample: int = 1000,
    seed: int = 0,
    out: str | Path | None = None,
    also: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """Check a manifest and count what it holds.

    Args:
        manifest: folder, file or URI; see `open_manifest`.
        all: decode every image, and compare the rows with the digests that they were written with.
        sample: number of images to decode otherwise, or all where there are fewer.
        seed: seed of the sample.
        out: a folder for the report, `summary.json`, which is written when nothing is wrong.
        also: a further check, called when the manifest has no problems; the report includes its result.

    Returns:
        `patches`, `slides`, `patients`, `splits` (split -> label -> the same three), `slides_without_patches`, `columns`
        (columns of the cohort), `images_decoded`, `digest`, `cohort_digest`.

    Raises:
        ManifestError: the manifest cannot be opened, or has problems; all of them are listed and name rows, from 0.
    """
    place = as_path(out) if out is not None else None
    if place is not None:
        claim_folder("manifest check", place)
    opened = open_any(str(manifest))
    names = [name for name in opened.columns if name != "image"]
    try:
        table = opened.read_rows(names)
    except DataError as error:
        raise ManifestError(str(error)) from None
    problems = find_problems(
        table.select(names), columns=opened.columns, rows_describe_slides=opened.rows_describe_slides
    )
    mixed = opened.mixed_row_groups() if {"split", "label"} <= set(opened.columns) else []
    if mixed:
        named = ", ".join(f"row group {number} of {opened.files[file]}" for file, number in mixed[:SHOWN])
        more = f" and {len(mixed) - SHOWN:,} more" if len(mixed) > SHOWN else ""
        problems.append(
            f"{len(mixed)} row groups mix splits or slide labels; "
            f"`wsc-ray manifest import` writes them anew: {named}{more}"
        )
    if all:
        problems += wrong_files(opened)
    decoded = 0
    if set(opened.columns) & set(PIXELS.names):
        picks = pick_images(
            [rows for footer in opened.file_footers for rows in footer.groups], None if all else sample, seed
        )
        decoded = sum(len(rows) for _, rows in picks)
        problems += _image_problems(opened, picks, decoded)
    cohort, patches = None, {}
    if not problems or not opened.rows_describe_slides:
        try:
            if "slide_id" in opened.columns:
                patches = opened.runs().patches()
                problems += _wrong_runs(opened.runs(), table["slide_id"])
            cohort = opened.cohort()
            problems += _disagreement(cohort, patches)
            problems += (
                [] if opened.rows_describe_slides else find_contradictions(cohort.slides)
            )  # already found in rows
        except ManifestError as error:
            problems.append(str(error))
    if problems:
        counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ManifestError(
            f"{manifest} has {counted} (rows count from 0)\n" + "\n".join(f"  {problem}" for problem in problems)
        )
    assert cohort is not None  # else there is a problem
    report = {
        "manifest": str(manifest),
        **count(cohort, patches),
        "slides_without_patches": sum(not patches.get(slide) for slide in cohort.ids),
        "columns": cohort.columns,
        "images_decoded": decoded,
        "digest": opened.digest,
        "cohort_digest": cohort.digest(),
        **also(),
    }
    if place is None:
        return {"command": "manifest check", **report}
    write_identity(place, "manifest check", {})
    return write_summary(place, "manifest check", report)


def _wrong_runs(runs: Runs, slides: pa.ChunkedArray) -> list[str]:
    """Return a problem if the footers' lists of slides, by which patches get their labels, differ from the rows."""
    told = pa.array(runs.slides, pa.string()).take(pa.array(np.repeat(runs.slide, runs.rows)))
    other = np.flatnonzero(pc.not_equal(slides.cast(pa.string()).combine_chunks(), told).to_numpy(zero_copy_only=False))
    if not len(other):
        return []
    first = int(other[0])
    return [
        f"{len(other):,} rows of another slide than their file's footer says, such as row {first}: "
        f"{slides[first].as_py()}, and {told[first].as_py()} in the footer; import the source anew"
    ]


def _disagreement(cohort: Cohort, patches: Mapping[str, int]) -> list[str]:
    """Return a problem that names the slides that have patches but no row in the table of slides."""
    unknown = sorted(set(patches) - set(cohort.ids))
    if not unknown:
        return []
    counted = "1 slide" if len(unknown) == 1 else f"{len(unknown):,} slides"
    return [f"{counted} with patches, but without a row in {cohort.name}: {listed(unknown)}"]


def pick_images(group_rows: list[int], sample: int | None, seed: int) -> list[tuple[int, np.ndarray]]:
    """Return the images to decode: (row group counted over all files, rows inside it, ascending).

    Args:
        group_rows: number of rows of each row group.
        sample: number of images, a few from each of some row groups as far as these have enough; None: all.
    """
    if sample is None or sample >= sum(group_rows):
        return [(group, np.arange(rows)) for group, rows in enumerate(group_rows) if rows]
    random = np.random.default_rng(seed)
    per_group = max(_AT_A_TIME, -(-sample // max(len(group_rows), 1)))
    order = random.permutation(len(group_rows)).tolist()
    takes, left = dict.fromkeys(order, 0), sample
    for most in (per_group, sample):  # large row groups make up for small ones
        for group in order:
            more = min(left, min(most, group_rows[group]) - takes[group])
            takes[group], left = takes[group] + more, left - more
    picks = [
        (group, np.sort(random.choice(group_rows[group], take, replace=False))) for group, take in takes.items() if take
    ]
    return sorted(picks, key=lambda pick: pick[0])


def _image_problems(opened: Manifest, picks: list[tuple[int, np.ndarray]], total: int) -> list[str]:
    """Return a problem that names unreadable images, and one that names images whose size is not `patch_size`."""
    places = [
        (file, number, rows)
        for file, footer in enumerate(opened.file_footers)
        for number, rows in enumerate(footer.groups)
    ]
    starts = np.cumsum([0, *(rows for _, _, rows in places)])
    source = PixelSource(opened.columns, opened.folder, threads=1)  # several row groups are read at a time
    wanted = [name for name in opened.columns if name in ("slide_id", "x", "y", "patch_size", *source.columns)]

    def bad_images(pick: tuple[int, np.ndarray]) -> tuple[list[str], list[str]]:
        group, rows = pick
        file, number, _ = places[group]
        try:
            patches = opened.read_group(file, number, wanted).take(rows).to_pylist()
        except DataError as error:
            return [f"{error} (row {starts[group]} and on)"], []
        unreadable, misfits = [], []
        for row, patch, image in zip(rows, patches, source.read(patches), strict=True):
            where = f"row {starts[group] + row} (slide {patch.get('slide_id')}, x {patch.get('x')}, y {patch.get('y')})"
            if isinstance(image, Unreadable):
                unreadable.append(f"{where}: {image.reason}")
                continue
            height, width, _ = image.shape
            size = patch.get("patch_size")
            if not height == width == (size or width):
                misfits.append(f"{where}: {width} x {height} px, and patch_size is {size}")
        return unreadable, misfits

    unreadable: list[str] = []
    misfits: list[str] = []
    with Progress("manifest check", total, unit="images") as progress, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for pick, (more_unreadable, more_misfits) in zip(picks, _bounded_map(pool, bad_images, picks), strict=True):
            unreadable += more_unreadable
            misfits += more_misfits
            progress.advance(len(pick[1]))
    problems = []
    for bad, kind in ((unreadable, "unreadable image"), (misfits, "image of another size than patch_size")):
        if bad:
            more = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
            counted = f"1 {kind}" if len(bad) == 1 else f"{len(bad):,} {kind.replace('image', 'images')}"
            problems.append(f"{counted} of {total:,} decoded: " + "; ".join(bad[:SHOWN]) + more)
    return problems


def _bounded_map(pool: ThreadPoolExecutor, function: Any, items: list[Any]) -> Iterator[Any]:
    """Yield results as `pool.map` does, but keep only as many waiting as the pool needs to stay busy."""
    waiting = deque(pool.submit(function, item) for item in items[:64])
    for index in range(len(items)):
        yield waiting.popleft().result()
        if index + 64 < len(items):
            waiting.append(pool.submit(function, items[index + 64]))

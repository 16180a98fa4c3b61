"""The work of tiling: every slide's grid, then every file of the manifest; those that are done are skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from wsc_ray.errors import DataError
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.manifest.write import file_name
from wsc_ray.progress import Progress
from wsc_ray.slides.coords import FOLDER, PREVIEWS, clear_others
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.slide_grid import Settings, SlideGrid, slide_grids
from wsc_ray.storage import AnyPath
from wsc_ray.tiling.cut import PatchFile, cut
from wsc_ray.tiling.layout import Layout
from wsc_ray.tiling.page import PAGE

UNREADABLE = "unreadable"
_SHOWN = 10  # slides or files that an error names


@dataclass(frozen=True)
class TilingJob:
    """A call of `tile`.

    Attributes:
        entries: the slides.
        settings: the settings of grids and patches.
        quality: quality of the JPEGs, 1 to 100; None if rows point into the slides.
        out: the manifest's folder.
        skip_bad: whether to leave out slides and patches that cannot be read.
    """

    entries: Sequence[Entry]
    settings: Settings
    quality: int | None
    out: AnyPath
    skip_bad: bool


def look_at_all(job: TilingJob, looked: Sequence[list[SlideGrid] | None]) -> list[list[SlideGrid]]:
    """Return every slide's grids, one for each scale; for a slide that cannot be used, one grid with its problem.

    Args:
        looked: the grids of each slide that are known already; None if they have to be made.
    """
    from wsc_ray.ray_session import ray_session
    from wsc_ray.tiling.ray_each import each

    entries = job.entries
    grids = {index: grid for index, grid in enumerate(looked) if grid is not None}
    todo = [index for index in range(len(entries)) if index not in grids]
    if todo:
        done = len(grids)
        with ray_session(), Progress("tile: tissue", len(entries), unit="slides", done=done) as progress:
            for index, found in each(slide_grids, ((entries[index], job.settings, job.out) for index in todo)):
                grids[todo[index]] = [SlideGrid.failed(str(found))] if isinstance(found, DataError) else found
                progress.advance(1)
    ordered = [grids[index] for index in range(len(entries))]
    good = {entry.slide_id for entry, found in zip(entries, ordered, strict=True) if found[0].scale}
    clear_others(job.out, good, job.settings.folders)
    return ordered


def problems_of(job: TilingJob, grids: Sequence[Sequence[SlideGrid]]) -> dict[str, str]:
    """Return the slides that cannot be used, each with its problem.

    Raises:
        DataError: there are such slides, and they may not be left out.
    """
    entries = job.entries
    bad = {entry.slide_id: found[0].problem for entry, found in zip(entries, grids, strict=True) if found[0].problem}
    if bad and not job.skip_bad:
        raise DataError(
            _listed(
                f"{len(bad)} of {len(entries)} slides cannot be used; mend them or take them out of the list, or leave them "
                "out with --skip-bad; the other slides are kept",
                [f"slide {slide}: {problem}" for slide, problem in bad.items()],
            )
        )
    return bad


def cut_all(job: TilingJob, pairs: Sequence[tuple[Entry, SlideGrid]], layout: Layout) -> int:
    """Write the files that are missing, and return the number of their patches.

    Args:
        pairs: the slides and grids from which the layout was made.

    Raises:
        DataError: patches cannot be read, and may not be left out; the other files are written.
    """
    from wsc_ray.ray_session import ray_session
    from wsc_ray.tiling.ray_each import each

    todo = [number for number in range(len(layout.files)) if not _place(job, number).exists()]
    if not todo:
        return 0
    sizes = [spans[-1][1] - spans[0][0] for spans in layout.files]
    total, wrong, cut_now = layout.table.num_rows, [], 0
    there = total - sum(sizes[number] for number in todo)
    with ray_session(), Progress("tile: patches", total, unit="patches", done=there) as progress:
        for index, found in each(cut, ((_part(job, pairs, layout, number),) for number in todo)):
            if isinstance(found, DataError):
                wrong.append(f"{_place(job, todo[index]).name}: {found}")
            else:
                cut_now += found
                progress.advance(sizes[todo[index]])
    if wrong:
        raise DataError(
            _listed(
                f"{len(wrong)} of {len(layout.files)} files cannot be written; mend what is said, or leave patches that cannot be "
                "read out with --skip-bad; the other files are kept",
                wrong,
            )
        )
    return cut_now


def clear_unfinished(out: AnyPath) -> None:
    """Delete the half-written files of killed processes; on an object store there are none."""
    if not isinstance(out, Path):
        return
    for pattern in (
        f".{PAGE}.*",
        f"{FOLDER}/*/.*",
        *(f"{folder}/.*" for folder in (FOLDER, PREVIEWS, PATCHES, UNREADABLE)),
    ):
        for path in out.glob(pattern):
            if path.is_file():
                path.unlink()


def _place(job: TilingJob, number: int) -> AnyPath:
    return job.out / PATCHES / file_name(number)


def _part(job: TilingJob, pairs: Sequence[tuple[Entry, SlideGrid]], layout: Layout, number: int) -> PatchFile:
    spans = layout.files[number]
    first, last = spans[0][0], spans[-1][1]
    slide = layout.slide[first:last]
    place = _place(job, number)
    return PatchFile(
        path=place,
        number=number + 1,
        parts=len(layout.files),
        table=layout.table.take(pa.array(np.arange(first, last))),  # Ray would send the whole table with a slice
        slide=slide,
        spans=[(start - first, stop - first) for start, stop in spans],
        slides={index: (pairs[index][0].path, pairs[index][1].scale) for index in np.unique(slide).tolist()},
        reader=job.settings.reader,
        quality=job.quality,
        unreadable=job.out / UNREADABLE / f"{place.stem}.csv" if job.skip_bad else None,
    )


def _listed(sentence: str, problems: Sequence[str]) -> str:
    shown = [f"  {problem}" for problem in problems[:_SHOWN]]
    more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n".join([sentence, *shown, *more])

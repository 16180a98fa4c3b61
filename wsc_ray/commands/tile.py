"""`wsc-ray tile`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import (
    Address,
    Autostop,
    Cluster,
    Down,
    DryRun,
    KeepFailed,
    MaxCost,
    MaxHours,
    Option,
    Yes,
    command,
)


@command(
    "tile",
    reads="yours",
    writes="`DIR/patches/*.parquet`, `coords`, `previews`",
    sent=True,
    resources=lambda recipe: {"tasks": "1 CPU each, on all CPUs of the cluster"},
)
def tile(
    *,
    slides: Annotated[str | Path, Option(metavar="SLIDES", argument=True, kind="file")],
    out: Annotated[
        str | Path, Option("Folder for the manifest; what it already holds is left out.", metavar="DIR", kind="path")
    ],
    folder: Annotated[
        str | Path | None,
        Option(
            "Folder where the list's paths start.  [default: the list's own]",
            metavar="DIR",
            kind="path",
            beside="slides",
        ),
    ] = None,
    columns: Annotated[
        Mapping[str, str] | None,
        Option(
            "NAME (path, slide_id, patient_id, label, split, mpp) is the list's column SOURCE; repeatable.",
            metavar="NAME=SOURCE",
            name="column",
            kind="pairs",
        ),
    ] = None,
    constants: Annotated[
        Mapping[str, str] | None,
        Option(
            "One value for every slide, such as split=train; repeatable.",
            metavar="NAME=VALUE",
            name="constant",
            kind="pairs",
        ),
    ] = None,
    label_names: Annotated[
        Mapping[str, str] | None,
        Option(
            "Slide label SOURCE of the list is called NAME, such as 1=positive; repeatable.",
            metavar="SOURCE=NAME",
            name="label",
            kind="pairs",
        ),
    ] = None,
    mpp: Annotated[float, Option("Scale of the patches, um/px; 0.5 is 20x.")] = 0.5,
    patch_size: Annotated[int, Option("Side of a patch, px at that scale.")] = 256,
    overlap: Annotated[int, Option("Overlap of neighbouring patches, px at that scale.")] = 0,
    tissue: Annotated[float, Option("Least share of a patch that is tissue.")] = 0.5,
    quality: Annotated[int, Option("Quality of the JPEGs, 1 to 100.")] = 90,
    link: Annotated[
        bool,
        Option("Write no pixels: rows point into the slides, which are read in training, on every node."),
    ] = False,
    reader: Annotated[
        str,
        Option(
            "What reads slides: stored-tiles (JPEG tiles decoded once, the rest by OpenSlide), openslide, cucim, a plug-in's, "
            "or auto, the first of the three that is installed."
        ),
    ] = "auto",
    skip_bad: Annotated[
        bool, Option("Leave out slides and patches that cannot be read; the summary names them.")
    ] = False,
    row_group_rows: Annotated[int, Option("Most rows of a row group, what streaming reads at a time.")] = 128,
    file_rows: Annotated[int, Option("Most rows of a file.")] = 4096,
    seed: Annotated[int, Option("Seed of the slide order.", least=0)] = 0,
    dry_run: DryRun = False,
    address: Address = None,
    cluster: Cluster = None,
    down: Down = "on-success",
    yes: Yes = False,
    autostop: Autostop = None,
    keep_failed: KeepFailed = None,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
) -> dict[str, Any]:
    """Cut the tissue of slides into patches, as a manifest.

    \b
    SLIDES is a CSV with the columns path, label, split, and where there are any slide_id, patient_id, mpp:
      wsc-ray tile slides.csv --out manifest
    It may be a folder of slides that share a label and a split:
      wsc-ray tile slides/ --constant label=negative --constant split=train --out manifest
    Lists of TRIDENT, CLAM and slide2vec are read too; what they lack is given here:
      wsc-ray tile clam.csv --folder slides/ --label tumor_tissue=positive --label normal_tissue=negative \\
        --constant split=train --out manifest

    With --link no pixels are written: training reads the slides.

    Look at OUT/previews for what was taken for tissue. Type the same command again after an interruption and it
    goes on with what is missing.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.tiling.run`.
    """
    from wsc_ray.tiling.run import tile_slides

    return tile_slides(
        slides=slides,
        out=out,
        folder=folder,
        columns=columns,
        constants=constants,
        label_names=label_names,
        mpp=mpp,
        patch_size=patch_size,
        overlap=overlap,
        tissue=tissue,
        quality=quality,
        link=link,
        reader=reader,
        skip_bad=skip_bad,
        row_group_rows=row_group_rows,
        file_rows=file_rows,
        seed=seed,
        dry_run=dry_run,
    )

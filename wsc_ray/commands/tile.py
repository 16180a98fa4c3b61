"""`wsc-ray tile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, ListFolder, Option, Where, command


@command(
    "tile",
    reads="your slides",
    writes="`DIR/patches/*.parquet`, `coords`, `previews`, `slides.html`",
    sent=True,
    resources=lambda recipe: {"tasks": "1 CPU each, on all CPUs of the cluster"},
)
def tile(
    *,
    slides: Annotated[str | Path, Option(metavar="SLIDES", argument=True, kind="file")],
    out: Annotated[
        str | Path,
        Option("Folder for the manifest; slides that it holds already are skipped.", metavar="DIR", kind="path"),
    ],
    folder: ListFolder = None,
    columns: Annotated[
        Mapping[str, str] | None,
        Option(
            "Take NAME (path, slide_id, patient_id, label, split, site, mpp or mask) from the list's column SOURCE; repeatable.",
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
            "Rename the list's slide label SOURCE to NAME, such as 1=positive; repeatable.",
            metavar="SOURCE=NAME",
            name="label",
            kind="pairs",
        ),
    ] = None,
    mpp: Annotated[
        float | Sequence[float],
        Option(
            "Scale of the patches, in micrometres per pixel; 0.5 is about 20x. With several, such as 0.5,1.0, every slide is cut at each.",
            metavar="UM[,UM]",
            kind="numbers",
        ),
    ] = 0.5,
    patch_size: Annotated[int, Option("Side of a patch, in pixels at the scale --mpp.")] = 256,
    overlap: Annotated[int, Option("Overlap of neighbouring patches, in pixels at the scale --mpp.")] = 0,
    tissue: Annotated[float, Option("Smallest share of tissue in a patch; 0 keeps every patch.")] = 0.5,
    masks: Annotated[
        str | Path | None,
        Option(
            "Folder with tissue masks (GeoJSON or PNG, as TRIDENT, GrandQC and QuPath write them), named after the slides; "
            "on slides without a mask the tissue is detected.",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    quality: Annotated[int, Option("JPEG quality of the patches, 1 to 100.")] = 90,
    link: Annotated[
        bool,
        Option("Write positions instead of pixels; training reads the slides, so that every node must see them."),
    ] = False,
    reader: Annotated[
        str,
        Option(
            "Slide reader: stored-tiles (decodes JPEG tiles once, and leaves the rest to OpenSlide), openslide, cucim, a plug-in's, "
            "or auto, the first of these three that is installed."
        ),
    ] = "auto",
    skip_bad: Annotated[bool, Option("Skip slides and patches that cannot be read; the summary names them.")] = False,
    row_group_rows: Annotated[
        int, Option("Largest number of rows in a row group, the unit that training reads.")
    ] = 128,
    file_rows: Annotated[int, Option("Largest number of rows in a file.")] = 4096,
    seed: Annotated[int, Option("Seed of the slide order.", least=0)] = 0,
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Cut the tissue of slides into patches, as a manifest.

    \b
    SLIDES is a table with the columns path, label and split, and optionally slide_id, patient_id, site, mpp and mask:
      wsc-ray tile slides.csv --out manifest
    It may be a folder of slides that share a label and a split:
      wsc-ray tile slides/ --constant label=negative --constant split=train --out manifest
    Lists of TRIDENT, CLAM and slide2vec are read too; options add what these lists lack:
      wsc-ray tile clam.csv --folder slides/ --label tumor_tissue=positive --label normal_tissue=negative \\
        --constant split=train --out manifest

    With --link the manifest has no pixels, and training reads the slides.

    OUT/slides.html shows which parts of each slide were taken for tissue, suspicious slides first. After an interruption, type the
    same command again: it goes on with the missing slides.

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
        masks=masks,
        quality=quality,
        link=link,
        reader=reader,
        skip_bad=skip_bad,
        row_group_rows=row_group_rows,
        file_rows=file_rows,
        seed=seed,
        dry_run=dry_run,
    )

"""`wsc-ray predict`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Encoder, Head, ListFolder, Option, Overrides, RecipeFile, Run, Where, command


def _resources(recipe: Any) -> dict[str, str]:
    return {
        "tasks": "of slides: 1 CPU each, on all CPUs of the cluster",
        "encoders": f"{recipe.embed.workers}, each up to 8 CPUs that decode for it, and 1 GPU where there are any",
    }


@command(
    "predict",
    reads="slides, a manifest or features; `RUN/encoder`, `RUN/mil`",
    writes="`RUN/predict/predictions.csv`, `attention`, `geojson`",
    sent=True,
    reads_manifest=False,
    out_in_run="predict",
    resources=_resources,
)
def predict(
    *,
    slides: Annotated[str | Path | None, Option(metavar="SLIDES", argument=True, kind="file")] = None,
    manifest: Annotated[
        str | None,
        Option("Manifest whose slides are predicted, in place of SLIDES.", metavar="DIR", kind="path", read="manifest"),
    ] = None,
    features: Annotated[
        str | Path | None,
        Option(
            "Feature store whose slides are predicted, or a folder of .h5 files as TRIDENT writes them, in place of SLIDES.",
            metavar="DIR",
            kind="path",
            read="features",
        ),
    ] = None,
    run: Run = None,
    encoder: Encoder = None,
    head: Head = None,
    out: Annotated[
        str | Path | None, Option("Folder for the results.  [default: RUN/predict]", metavar="DIR", kind="path")
    ] = None,
    geojson: Annotated[bool, Option("Also write a GeoJSON file of each slide, for QuPath.")] = False,
    folder: ListFolder = None,
    columns: Annotated[
        Mapping[str, str] | None,
        Option(
            "Take NAME (path, slide_id, patient_id, mpp or mask) from the list's column SOURCE; repeatable.",
            metavar="NAME=SOURCE",
            name="column",
            kind="pairs",
        ),
    ] = None,
    mpp: Annotated[
        float | None,
        Option(
            "Scale of the patches, in micrometres per pixel.  [default: as in the manifest of the head's features]",
            metavar="FLOAT",
        ),
    ] = None,
    patch_size: Annotated[
        int | None,
        Option(
            "Side of a patch, in pixels at the scale --mpp.  [default: as in the manifest of the head's features]",
            metavar="INTEGER",
            least=8,
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        Option(
            "Overlap of neighbouring patches, in pixels at the scale --mpp.  [default: as in the manifest of the head's features]",
            metavar="INTEGER",
            least=0,
        ),
    ] = None,
    tissue: Annotated[
        float | None,
        Option(
            "Smallest share of tissue in a patch.  [default: as in the manifest of the head's features]",
            metavar="FLOAT",
        ),
    ] = None,
    reader: Annotated[
        str | None,
        Option("Slide reader; see `tile`.  [default: as in the manifest of the head's features]", metavar="TEXT"),
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Predict new slides with a run's encoder and head.

    \b
    No labels are needed. Give a list or a folder of slides, a manifest, or features:
      wsc-ray predict slides.csv --run run --out predicted
      wsc-ray predict --manifest other-cohort --run run --out predicted
      wsc-ray predict --features other-features --run run --out predicted --geojson

    predictions.csv has the probabilities of each slide, and how far the head's members differ; the row of a slide without tissue, or
    of one that cannot be read, says so. After an interruption, type the same command again: it goes on.

    Returns:
        The summary, also in `OUT/summary.json`; on a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written if the input as a whole is wrong.
    """
    from wsc_ray.predict.run import predict_slides

    return predict_slides(
        slides=slides,
        manifest=manifest,
        features=features,
        run=run,
        encoder=encoder,
        head=head,
        out=out,
        folder=folder,
        columns=columns,
        mpp=mpp,
        patch_size=patch_size,
        overlap=overlap,
        tissue=tissue,
        reader=reader,
        geojson=geojson,
        recipe=recipe,
        overrides=overrides,
        dry_run=dry_run,
    )

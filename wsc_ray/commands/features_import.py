"""`wsc-ray features import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import Option, Where, command


@command(
    "features import",
    reads="your features",
    writes="`DIR/<slide>.h5`, `slides.parquet`",
    sent=True,
    resources=lambda recipe: {"process": "1, on the head"},
)
def features_import(
    *,
    source: Annotated[str | Path, Option(metavar="SOURCE", argument=True, kind="path")],
    cohort: Annotated[
        str | Path,
        Option("Table of the slides: slide_id, patient_id, label, split; CSV or Parquet.", metavar="FILE", kind="path"),
    ],
    out: Annotated[str | Path, Option("New folder (or URI) for the features.", metavar="DIR", kind="path")],
    mpp: Annotated[
        float | None,
        Option(
            "Micrometres per pixel of every slide's level 0, to convert STAMP's coordinates; or a column mpp in the table."
        ),
    ] = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Take over features that TRIDENT, CLAM or STAMP extracted.

    \b
    SOURCE is one of:
      TRIDENT's features_<encoder>/, CLAM's folder with h5_files/ or pt_files/, STAMP's folder of .h5 files
    Then, with a recipe that names the labels:
      wsc-ray tune --features DIR --out mil

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.errors`.
    """
    from wsc_ray.features.importing import import_features

    return import_features(source=source, cohort=cohort, out=out, mpp=mpp)

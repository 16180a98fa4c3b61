"""`wsc-ray manifest import`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

from wsc_ray.command import Option, Where, command


@command(
    "manifest import",
    reads="your patches",
    writes="`DIR/patches/*.parquet`",
    sent=True,
    resources=lambda recipe: {"process": "1, on the head"},
)
def manifest_import(
    *,
    source: Annotated[str | Path, Option(metavar="SOURCE", argument=True, kind="path")],
    out: Annotated[str | Path, Option("New folder (or URI) for the manifest.", metavar="DIR", kind="path")],
    columns: Annotated[
        Mapping[str, str] | None,
        Option(
            "Take the manifest's column NAME from the table's column SOURCE; repeatable.",
            metavar="NAME=SOURCE",
            name="column",
            kind="pairs",
        ),
    ] = None,
    constants: Annotated[
        Mapping[str, Any] | None,
        Option(
            "One value for every row, such as split=train; repeatable.",
            metavar="NAME=VALUE",
            name="constant",
            kind="pairs",
        ),
    ] = None,
    label_names: Annotated[
        Mapping[str, str] | None,
        Option(
            "Rename the table's slide label SOURCE to NAME, such as 1=positive; repeatable.",
            metavar="SOURCE=NAME",
            name="label",
            kind="pairs",
        ),
    ] = None,
    lists: Annotated[
        Sequence[Any],
        Option(
            "Text file that lists image files in the folder SOURCE, one path per line; repeatable.",
            metavar="FILE[,label=NAME][,split=NAME]",
            name="list",
            kind="texts",
        ),
    ] = (),
    format: Annotated[
        Literal["parquet", "csv"] | None, Option("Format of SOURCE, if its name does not show it.")
    ] = None,
    link: Annotated[bool, Option("Store the images' paths in the manifest instead of their bytes.")] = False,
    row_group_rows: Annotated[
        int, Option("Largest number of rows in a row group, the unit that training reads.", least=1)
    ] = 128,
    file_rows: Annotated[int, Option("Largest number of rows in a file.", least=1)] = 16_384,
    seed: Annotated[int, Option("Seed of the slide order.", least=0)] = 0,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Write a manifest from a table of patches or lists of images.

    A table has a row for each patch, with the columns slide_id, patient_id, label, split, x, y and patch_size (by default the side of
    its picture), and one of image (the bytes of a picture), image_uri (its file) or slide_uri (the slide that it is cut from).
    --column names columns that are called otherwise, and --constant gives one value to all rows.

    \b
    From a table (Parquet or CSV) whose columns have other names:
      wsc-ray manifest import patches.parquet --out manifest \\
        --column label=slide_label --label 0=negative --label 1=positive
    From a folder of images, with one list per label:
      wsc-ray manifest import images/ --out manifest \\
        --list neg.txt,label=negative,split=train --list pos.txt,label=positive,split=train

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        ManifestError: the source cannot be read or has problems, which are all listed with their rows, counted from 0.
        RunFolderError: `out` holds something already.
    """
    from wsc_ray.manifest.importing import import_manifest

    return import_manifest(
        source=source,
        out=out,
        lists=lists,
        columns=columns,
        constants=constants,
        label_names=label_names,
        format=format,
        link=link,
        row_group_rows=row_group_rows,
        file_rows=file_rows,
        seed=seed,
    )

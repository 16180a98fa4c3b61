"""`wsc-ray tile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, ListFolder, Option, Overrides, Where, command


def default_out(arguments: Mapping[str, Any], storage: str | None) -> str:
    """Return the recipe's manifest.

    Raises:
        RecipeError: the recipe names none.
    """
    from wsc_ray.errors import RecipeError
    from wsc_ray.recipe.reading import load_recipe
    from wsc_ray.recipe.sections import DEFAULT_RECIPE, Recipe

    recipe = arguments.get("recipe")
    named = None if recipe == DEFAULT_RECIPE else recipe
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(named, arguments.get("overrides", ()))
    if loaded.data.manifest is None:
        raise RecipeError("tile", ["--out: missing; give it, or data.manifest in the recipe"])
    return loaded.data.manifest


@command(
    "tile",
    reads="your slides",
    writes="`DIR/patches/*.parquet`, `coords`, `previews`, `slides.html`",
    sent=True,
    reads_manifest=False,
    default_out=default_out,
    from_recipe=lambda recipe: {name: getattr(recipe.tile, name) for name in ("slides", "folder")},
    resources=lambda recipe: {"tasks": "1 CPU each, on all CPUs of the cluster"},
)
def tile(
    *,
    slides: Annotated[str | Path | None, Option(metavar="SLIDES", argument=True, kind="file")] = None,
    out: Annotated[
        str | Path | None,
        Option(
            "Folder for the manifest; slides that it holds already are skipped.  [default: the recipe's data.manifest]",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
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
        float | Sequence[float] | None,
        Option(
            "Scale of the patches, in micrometres per pixel; 0.5 is about 20x. With several, such as 0.5,1.0, every slide is cut at each.  "
            "[default: the recipe's, or 0.5]",
            metavar="UM[,UM]",
            kind="numbers",
        ),
    ] = None,
    patch_size: Annotated[
        int | None,
        Option("Side of a patch, in pixels at the scale --mpp.  [default: the recipe's, or 256]", metavar="INTEGER"),
    ] = None,
    overlap: Annotated[
        int | None,
        Option(
            "Overlap of neighbouring patches, in pixels at the scale --mpp.  [default: the recipe's, or 0]",
            metavar="INTEGER",
        ),
    ] = None,
    tissue: Annotated[
        float | None,
        Option(
            "Smallest share of tissue in a patch; 0 keeps every patch.  [default: the recipe's, or 0.5]",
            metavar="FLOAT",
        ),
    ] = None,
    masks: Annotated[
        str | Path | None,
        Option(
            "Folder with tissue masks (GeoJSON or PNG, as TRIDENT, GrandQC and QuPath write them), named after the slides; "
            "on slides without a mask the tissue is detected.",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        Option("JPEG quality of the patches, 1 to 100.  [default: the recipe's, or 90]", metavar="INTEGER"),
    ] = None,
    link: Annotated[
        bool,
        Option("Write positions instead of pixels; training reads the slides, so that every node must see them."),
    ] = False,
    reader: Annotated[
        str | None,
        Option(
            "Slide reader: stored-tiles (decodes JPEG tiles once, and leaves the rest to OpenSlide), openslide, cucim, a plug-in's, "
            "or auto, the first of these three that is installed.  [default: the recipe's, or auto]",
            metavar="TEXT",
        ),
    ] = None,
    skip_bad: Annotated[bool, Option("Skip slides and patches that cannot be read; the summary names them.")] = False,
    row_group_rows: Annotated[
        int | None,
        Option(
            "Largest number of rows in a row group, the unit that training reads.  [default: the recipe's, or 128]",
            metavar="INTEGER",
        ),
    ] = None,
    file_rows: Annotated[
        int | None,
        Option("Largest number of rows in a file.  [default: the recipe's, or 4096]", metavar="INTEGER"),
    ] = None,
    seed: Annotated[
        int | None, Option("Seed of the slide order.  [default: the recipe's, or 0]", metavar="INTEGER", least=0)
    ] = None,
    recipe: Annotated[
        Any,
        Option(
            "Recipe with the settings that are not given here, in its section tile.  [default: wsc-ray.yaml, if there is one]",
            metavar="FILE",
        ),
    ] = None,
    overrides: Overrides = (),
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
    A recipe may hold all of this, in its section tile:
      wsc-ray tile --recipe recipe.yaml

    Slides may be on an object store, named by URIs. With --link the manifest has no pixels, and training reads the slides.

    OUT/slides.html shows which parts of each slide were taken for tissue, suspicious slides first. After an interruption, type the
    same command again: it goes on with the missing slides.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.tiling.run`.
    """
    from wsc_ray.recipe.reading import load_recipe
    from wsc_ray.recipe.sections import Recipe

    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    from wsc_ray.tiling.arguments import tiling_arguments
    from wsc_ray.tiling.run import tile_slides

    given = dict(
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
    )
    return tile_slides(**tiling_arguments(loaded, given), dry_run=dry_run)

"""`wsc-ray neighbours search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import Option, Where, command


@command(
    "neighbours search",
    reads="features",
    writes="`DIR/nearest.csv`, `nearest.png`",
    sent=True,
    resources=lambda recipe: {"process": "1, on the head"},
)
def neighbours_search(
    *,
    features: Annotated[str | Path, Option("Features to search in.", metavar="DIR", kind="path")],
    slide: Annotated[str, Option("Slide whose patches are the queries.", metavar="ID")],
    out: Annotated[str | Path, Option("Folder for the table and the picture.", metavar="DIR", kind="path")],
    patch: Annotated[
        str | None,
        Option(
            "Only the patch of the slide at this position, in level-0 pixels.  [default: all patches]", metavar="X,Y"
        ),
    ] = None,
    manifest: Annotated[
        str | Path | None, Option("Manifest with the patches' pixels, for the picture.", metavar="DIR", kind="path")
    ] = None,
    count: Annotated[int, Option("Number of patches to find for each query.", least=1, most=1000)] = 10,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Find the patches that look most like a slide's patches.

    Patches are compared by the cosine of their features, and only with patches of other slides.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.neighbours.search import search_neighbours

    return search_neighbours(features=features, slide=slide, patch=patch, out=out, manifest=manifest, count=count)

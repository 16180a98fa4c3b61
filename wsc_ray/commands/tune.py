"""`wsc-ray tune`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Option, Overrides, RecipeFile, Run, Where, command
from wsc_ray.describe import describe


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    if dry_run or "slides" not in summary:
        return describe(summary, dry_run=dry_run)
    from wsc_ray.mil.search import describe_search

    return describe_search(dict(summary))


def _reserved(recipe: Any) -> str:
    gpus = f" and {recipe.tune.gpus_per_trial:g} GPU" if recipe.tune.gpus_per_trial else ""
    return f"{recipe.tune.cpus_per_trial:g} CPU{gpus}"


@command(
    "tune",
    reads="`RUN/features`",
    writes="`RUN/mil`",
    sent=True,
    reads_manifest=False,
    out_in_run="mil",
    resources=lambda recipe: {"trials": f"{recipe.tune.concurrent} at a time, each {_reserved(recipe)}"},
    describe=_describe,
)
def tune(
    *,
    run: Run = None,
    features: Annotated[
        str | Path | None, Option("Features to use.  [default: RUN/features]", metavar="DIR", kind="path")
    ] = None,
    out: Annotated[
        str | Path | None, Option("Folder for the head.  [default: RUN/mil]", metavar="DIR", kind="path")
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Search the settings of an MIL head with Ray Tune.

    The search sees training and validation slides only. After an interruption, type the same command again: it goes on with
    the missing trials.

    Returns:
        The summary, also in `OUT/summary.json`; of a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.mil.search import search_head

    return search_head(run=run, features=features, out=out, recipe=recipe, overrides=overrides, dry_run=dry_run)

"""`wsc-ray pretrain`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Option, Overrides, Where, command
from wsc_ray.describe import describe
from wsc_ray.recipe.sections import DEFAULT_RECIPE


def default_out(arguments: Mapping[str, Any], storage: str | None) -> str:
    """Return `runs/<the recipe's name>`, in the current folder or under a cluster's storage."""
    recipe = arguments.get("recipe")
    from wsc_ray.storage import child

    name = Path(recipe if isinstance(recipe, str | Path) else DEFAULT_RECIPE).stem
    return child(storage, f"runs/{name}") if storage else f"runs/{name}"


def training_resources(recipe: Any) -> dict[str, str]:
    """Return what a training with this recipe reserves on a cluster, in words."""
    train = recipe.train
    workers = f"{train.workers}" if train.min_workers is None else f"{train.min_workers} to {train.workers}"
    gpu = {"cpu": "", "cuda": " and 1 GPU", "auto": " and, where the cluster has any, 1 GPU"}[train.device]
    return {
        "training workers": f"{workers}, each {train.cpus_per_worker:g} CPUs{gpu}",
        "reading": "the other CPUs",
    }


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    """Format the summary; for a dry run, the resolved recipe and then the plan."""
    values = dict(summary)
    recipe = values.pop("recipe", None)
    return (f"{recipe}\n" if recipe else "") + describe(values, dry_run=dry_run)


@command(
    "pretrain",
    reads="manifest or features",
    writes="`RUN`",
    sent=True,
    default_out=default_out,
    trains=True,
    resources=training_resources,
    describe=_describe,
)
def pretrain(
    *,
    recipe: Annotated[Any, Option(metavar="RECIPE", argument=True)] = None,
    out: Annotated[
        str | Path | None,
        Option(
            "Run folder; a run that it holds already is resumed.  [default: runs/ and the recipe's name]",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    start_from: Annotated[
        str | Path | None,
        Option(
            "Start a new run from these weights: a checkpoint, an exported encoder or a .safetensors file.",
            metavar="CHECKPOINT",
            name="from",
            kind="path",
        ),
    ] = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Pretrain the patch encoder that a recipe describes.

    Without RECIPE, wsc-ray.yaml in the current folder is used. After an interruption, type the same command again: training
    goes on from its last checkpoint, in the same MLflow run.

    Returns:
        The summary, also in `OUT/summary.json`; for a dry run the plan, with the resolved `recipe` as YAML.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    from wsc_ray.recipe.reading import load_recipe
    from wsc_ray.recipe.sections import Recipe

    if out is None:
        out = default_out({"recipe": recipe}, None)
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    # Imported last, since it is slow: an error in the recipe is reported at once.
    from wsc_ray.pretrain.run import pretrain_encoder

    summary = pretrain_encoder(out=out, recipe=loaded, start_from=start_from, dry_run=dry_run)
    return {"recipe": loaded.to_yaml(), **summary} if dry_run else summary

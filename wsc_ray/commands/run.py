"""`wsc-ray run`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import DryRun, Option, Overrides, Where, command
from wsc_ray.commands.pretrain import default_out, training_resources
from wsc_ray.describe import describe


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    if "evaluate" not in summary:
        return describe(summary, dry_run=dry_run)
    from wsc_ray.evaluate.describe import describe as describe_evaluation

    values = dict(summary)
    return f"{describe_evaluation(dict(values.pop('evaluate')))}\n{describe(values)}"


@command(
    "run",
    reads="manifest or slides",
    writes="`RUN`, `RUN/features`, `RUN/mil`, `RUN/evaluate`",
    sent=True,
    default_out=default_out,
    trains=True,
    cuts_first=True,
    resources=training_resources,
    describe=_describe,
)
def run(
    *,
    recipe: Annotated[Any, Option(metavar="RECIPE", argument=True)] = None,
    out: Annotated[
        str | Path | None,
        Option(
            "Run folder; steps that it holds already are not repeated.  [default: runs/ and the recipe's name]",
            metavar="DIR",
            kind="path",
        ),
    ] = None,
    overrides: Overrides = (),
    dry_run: DryRun = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Pretrain, embed, tune and evaluate, one after the other.

    Each step runs the command of the same name on the run folder, with this recipe. If the recipe names slides (tile.slides) and its
    manifest is missing, `tile` goes first. After an interruption, type the same command again: it goes on with the step that is not
    complete.

    Returns:
        `seconds` of each step and the summary of `evaluate`; for a dry run the plan of the first step, and the steps after it.

    Raises:
        UserError: see `wsc_ray.errors`.
    """
    from wsc_ray.recipe.reading import absolute_paths, load_recipe
    from wsc_ray.recipe.sections import Recipe
    from wsc_ray.steps import run_steps

    if out is None:
        out = default_out({"recipe": recipe}, None)
    loaded = recipe if isinstance(recipe, Recipe) else absolute_paths(load_recipe(recipe, overrides))
    return run_steps(recipe=loaded, out=out, dry_run=dry_run)

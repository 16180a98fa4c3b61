"""`wsc-ray run`: pretraining, embedding, tuning and evaluating in one run folder, one after the other; before them, cutting the recipe's
slides if its manifest is missing.

Each step resumes an interrupted step of the same name, so that the whole goes on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsc_ray.evaluate.run import evaluate_head
from wsc_ray.features.embed import embed_slides
from wsc_ray.files import read_summary, write_json
from wsc_ray.mil.search import search_head
from wsc_ray.pretrain.run import pretrain_encoder
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import STEPS, STEPS_FILE, RunFolder
from wsc_ray.storage import as_path
from wsc_ray.tiling.arguments import tiles_first, tiling_arguments
from wsc_ray.tiling.run import tile_slides


def run_steps(*, recipe: Recipe, out: str | Path, dry_run: bool = False) -> dict[str, Any]:
    """Run all steps that are not complete.

    Args:
        out: the run folder.
        dry_run: check the first step, return the plan, and start nothing.

    Returns:
        `run`, `seconds` of each step, and `evaluate`, the summary of the last step; for a dry run the plan.

    Raises:
        UserError: a step raised it; the steps before are complete.
    """
    folder, run = as_path(out), str(as_path(out))
    first = tiles_first(recipe)
    if first and dry_run:
        return {**tile_slides(**tiling_arguments(recipe), dry_run=True), "then": list(STEPS)}
    cut: dict[str, float] = {}
    if first:
        print("before step 1: tile", flush=True)
        cut["tile"] = tile_slides(**tiling_arguments(recipe))["seconds"]
    if dry_run:
        plan = pretrain_encoder(out=run, recipe=recipe, dry_run=True)
        return {**plan, "then": list(STEPS[1:])}
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "pretrain": lambda: pretrain_encoder(out=run, recipe=recipe),
        "embed": lambda: _embed(run, recipe),
        "tune": lambda: search_head(run=run, recipe=recipe),
        "evaluate": lambda: evaluate_head(run=run, recipe=recipe),
    }
    seconds: dict[str, float] = {}
    summary: dict[str, Any] = {}
    for number, name in enumerate(STEPS, start=1):
        if seconds:  # not before the first step, which claims the folder
            write_json(folder / STEPS_FILE, {"step": name, "seconds": seconds})
        print(f"step {number} of {len(STEPS)}: {name}", flush=True)
        summary = work[name]()
        seconds[name] = summary["seconds"]
    write_json(folder / STEPS_FILE, {"step": None, "seconds": seconds})
    return {"run": run, "seconds": cut | seconds, "evaluate": summary}


def _embed(run: str, recipe: Recipe) -> dict[str, Any]:
    """Embed, or return the earlier summary if all slides are embedded already.

    Otherwise `embed_slides` would replace the summary with one that reports no new slides.
    """
    plan = embed_slides(run=run, recipe=recipe, dry_run=True)
    done = read_summary(RunFolder(run).features)
    if done is not None and plan["slides"] == plan["slides_there"]:
        return {**done, "already_complete": True}
    return embed_slides(run=run, recipe=recipe)

"""The arguments of `tile_slides` from a recipe's section `tile`, and from the options that override it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.errors import RecipeError
from wsc_ray.files import SUMMARY
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import read_identity
from wsc_ray.storage import as_path, check_store


def tiling_arguments(recipe: Recipe, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the arguments of `tile_slides`, apart from `dry_run`.

    Args:
        given: arguments that override the recipe's; None, and an empty dictionary, take the recipe's value. A name in `columns` or `constants`
            replaces the same name in both of the recipe's, and the recipe's other names stay.

    Raises:
        RecipeError: no slides or no output folder are named.
    """
    values = recipe.tile.model_dump()
    values["label_names"] = values.pop("labels")
    own = {name: value for name, value in (given or {}).items() if value is not None and value is not False}
    columns, constants = own.pop("columns", {}), own.pop("constants", {})
    for name, added in (("columns", columns), ("constants", constants)):
        kept = {key: value for key, value in values[name].items() if key not in {*columns, *constants}}
        values[name] = {**kept, **added}
    values["label_names"] |= own.pop("label_names", {})
    values = {"out": recipe.data.manifest, **values, **own}
    missing = [
        f"{option}: missing; give it, or {key} in the recipe"
        for name, option, key in (("slides", "SLIDES", "tile.slides"), ("out", "--out", "data.manifest"))
        if values[name] is None
    ]
    if missing:
        raise RecipeError("tile", missing)
    return {**values, "tracking": recipe.tracking.uri, "experiment": recipe.tracking.experiment}


def tiles_first(recipe: Recipe) -> bool:
    """Return whether the manifest has to be cut before a run: the recipe names slides, and the manifest is missing or half cut.

    Raises:
        RunFolderError: the manifest's store cannot be used.
    """
    if not recipe.tile.slides or not recipe.data.manifest:
        return False
    place = as_path(recipe.data.manifest)
    check_store(place)
    if place.is_file() or (place / SUMMARY).is_file():
        return False
    identity = read_identity(place, "tile") or {}
    return identity.get("command") == "tile" or not (place / PATCHES).is_dir()

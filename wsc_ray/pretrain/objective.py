"""The method of a recipe, ready to be called on the views of a step."""

from __future__ import annotations

from wsc_ray.errors import RecipeError
from wsc_ray.losses.method import METHODS, Method
from wsc_ray.recipe.sections import Loss


def make_objective(config: Loss, pure: int) -> Method:
    """The method that the recipe names.

    Args:
        pure: how many of the slide labels are pure.

    Raises:
        RecipeError: there is none of that name.
    """
    require_method(config)
    return METHODS[config.method](pure, config.temperature, config.base_temperature)


def require_method(config: Loss) -> None:
    """
    Raises:
        RecipeError: there is no method of that name.
    """
    if config.method not in METHODS:
        raise RecipeError("recipe", [f"`loss.method`: {METHODS.missing(config.method)}"])

"""Make the pretraining method of a recipe, which is called with the views of each step."""

from __future__ import annotations

from wsc_ray.errors import RecipeError
from wsc_ray.losses.method import METHODS, Method
from wsc_ray.recipe.sections import Loss


def make_objective(config: Loss, pure: int) -> Method:
    """Return the method that the recipe names.

    Args:
        pure: number of pure labels.

    Raises:
        RecipeError: no method has that name.
    """
    require_method(config)
    return METHODS[config.method](pure, config.temperature, config.base_temperature)


def require_method(config: Loss) -> None:
    """Check that the recipe's method exists.

    Raises:
        RecipeError: no method has that name.
    """
    if config.method not in METHODS:
        raise RecipeError("recipe", [f"`loss.method`: {METHODS.missing(config.method)}"])

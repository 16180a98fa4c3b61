"""The one description of a run: its sections, reading it from YAML, and writing it commented."""

from wsc_ray.recipe.reading import load_recipe, validate_recipe
from wsc_ray.recipe.sections import DEFAULT_RECIPE, Recipe

__all__ = ["DEFAULT_RECIPE", "Recipe", "load_recipe", "validate_recipe"]

"""The parameters of one patch, drawn for a key of its own."""

from __future__ import annotations

import numpy as np

from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.parameters import view_draws, view_parameters


def draw_parameters(config: Augment, height: int, width: int, *key: int) -> np.ndarray:
    """(2, P)."""
    return view_parameters(config, height, width, view_draws(1, *key)[0].tolist())

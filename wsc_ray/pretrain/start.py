"""The start of a pretraining: the weights that every worker begins with, and the statistics that its pixels are normalised with."""

from __future__ import annotations

from pathlib import Path

import torch

from wsc_ray.encoders import PixelStatistics, load_weights
from wsc_ray.encoders.model import require_name
from wsc_ray.encoders.weights import read_state, statistics_for
from wsc_ray.errors import WeightsError
from wsc_ray.pretrain.model import make_encoder
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.stream.source import Source


def pixel_statistics(recipe: Recipe, start_from: str | Path | None) -> PixelStatistics | None:
    """Return the statistics to normalise pixels with: the recipe's, else those of the weights; None for features."""
    encoder = recipe.encoder
    if recipe.data.features:
        return None
    path = start_from or (None if encoder.weights in ("imagenet", "random") else encoder.weights)
    require_name(encoder.backbone)
    default = statistics_for(encoder.backbone, encoder.weights, as_path(path) if path else None)
    return PixelStatistics(encoder.pixel_mean or default.mean, encoder.pixel_std or default.std)


def initial_encoder(recipe: Recipe, source: Source, start_from: str | Path | None) -> torch.nn.Module:
    """Return the encoder that a run starts from, built once so that every worker starts from the same weights."""
    encoder = recipe.encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = make_encoder(recipe, source, pretrained=encoder.weights == "imagenet" and start_from is None)
    weights = start_from or (None if encoder.weights in ("imagenet", "random") else encoder.weights)
    if weights is not None:
        load_weights(model, as_path(weights))
    return model


def is_readable(weights: AnyPath) -> bool:
    """Return whether a file of weights exists and is undamaged; a run's initial weights can be made again."""
    try:
        read_state(weights)
    except WeightsError:
        return False
    return True

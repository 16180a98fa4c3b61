"""Make the encoder of a recipe: a timm backbone where its source gives pixels, a perceptron where it gives features."""

from __future__ import annotations

from wsc_ray.encoders import PatchEncoder, build_encoder
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.feature_files.table import FeatureTable
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.source import Source


def make_encoder(recipe: Recipe, source: Source, *, pretrained: bool = False) -> PatchEncoder:
    """Return a new encoder.

    Args:
        pretrained: give the backbone ImageNet weights.

    Raises:
        WeightsError: see `build_encoder`.
    """
    encoder = recipe.encoder
    if isinstance(source, FeatureTable):
        shape = mlp_shape(recipe, source)
        return PatchEncoder(FeatureMlp(shape), encoder.head_hidden or shape.outputs, encoder.head_dim)
    return build_encoder(
        encoder.backbone,
        size=recipe.augment.size,
        head_hidden=encoder.head_hidden,
        head_dim=encoder.head_dim,
        norm=encoder.norm,
        pretrained=pretrained,
    )


def mlp_shape(recipe: Recipe, table: FeatureTable) -> MlpShape:
    """Return the shape of the perceptron that takes the features of a table."""
    return MlpShape(table.width, tuple(recipe.encoder.mlp_hidden), recipe.encoder.mlp_width)

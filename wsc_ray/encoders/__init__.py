"""Patch encoders: timm backbones with a projection head, and perceptrons over features; reading and writing of weights."""

from wsc_ray.encoders.model import IMAGENET, PatchEncoder, PixelStatistics, build_encoder, normalise_pixels
from wsc_ray.encoders.weights import export_encoder, exported_name, exported_statistics, load_exported, load_weights

__all__ = [
    "IMAGENET",
    "PatchEncoder",
    "PixelStatistics",
    "build_encoder",
    "export_encoder",
    "exported_name",
    "exported_statistics",
    "load_exported",
    "load_weights",
    "normalise_pixels",
]

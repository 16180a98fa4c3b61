"""Patch encoders: timm backbones with a projection head, weights in and out."""

from wsc_ray.encoders.model import PatchEncoder, build_encoder, normalise_pixels
from wsc_ray.encoders.weights import export_encoder, load_exported, load_weights

__all__ = ["PatchEncoder", "build_encoder", "export_encoder", "load_exported", "load_weights", "normalise_pixels"]

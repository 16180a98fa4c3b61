"""A frozen encoder as a value: its architecture, its weights as bytes, and how patches are resized and normalised for it.

The command reads it once and sends it to the processes that embed, so that all of them have the weights whose digest is
in the feature store's identity, and none needs access to the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from wsc_ray import checksums
from wsc_ray.encoders.model import PixelStatistics, create_backbone
from wsc_ray.errors import WeightsError
from wsc_ray.files import local_file
from wsc_ray.storage import AnyPath

AS_TRAINED = "training"  # resize patches in the way in which `pretrain` makes views


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """A backbone whose training has ended.

    Attributes:
        name: timm's name, with the tag of its weights.
        arguments: arguments that timm needs to build it.
        size: side of the patches that it takes, px.
        width: width of its features; 0 until `checked`.
        pixels: mean and standard deviation that its input is normalised with.
        interpolation: how patches of another size are resized: `AS_TRAINED`, or one of Pillow's, in small letters.
        weights: safetensors, (bytes,) uint8.
        digest: SHA-256 (hex) of the weights.
        source: where it comes from, for messages.
    """

    name: str
    arguments: Mapping[str, Any]
    size: int
    width: int
    pixels: PixelStatistics
    interpolation: str
    weights: np.ndarray
    digest: str
    source: str

    def load(self) -> nn.Module:
        """Return the backbone in eval mode: normalised pixels (n, 3, s, s) -> features (n, width).

        Raises:
            WeightsError: the weights do not fit the backbone.
        """
        backbone = make_backbone(self.name.partition(".")[0], self.arguments, self.source)
        try:
            backbone.load_state_dict(safetensors.torch.load(self.weights.tobytes()))
        except (RuntimeError, SafetensorError) as error:
            raise WeightsError(
                f"{self.source}: the weights do not fit {self.name}: {str(error).splitlines()[-1].strip()}"
            ) from None
        return backbone.eval()

    @torch.inference_mode()
    def checked(self, size: int | None) -> FrozenEncoder:
        """Return the encoder for patches of `size` px (None: its own size), after encoding a patch as a check.

        Raises:
            WeightsError: it does not take such patches, or does not give one vector for each.
        """
        size = size or self.size
        try:
            features = self.load()(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise WeightsError(
                f"{self.source}: {self.name} does not take patches of {size} px; set embed.size to {self.size} ({reason})"
            ) from None
        if features.ndim != 2:
            raise WeightsError(
                f"{self.source}: {self.name} gives {tuple(features.shape[1:])} for a patch, not one vector; name a `global_pool` in the "
                "`model_args` of its config.json"
            )
        return replace(self, size=size, width=features.shape[1])


def make_backbone(architecture: str, arguments: Mapping[str, Any], where: str) -> nn.Module:
    """Return a backbone with random weights.

    Args:
        where: where the arguments come from, for messages.

    Raises:
        WeightsError: timm does not know the architecture or the arguments.
    """
    try:
        return create_backbone(architecture, dict(arguments))
    except WeightsError:
        raise
    except Exception as error:  # timm's models raise any error for unknown arguments
        raise WeightsError(f"{where}: timm cannot make {architecture} with these model_args: {error}") from None


def read_weights(path: AnyPath) -> np.ndarray:
    """Return the bytes of a file, (bytes,) uint8.

    Raises:
        WeightsError: the file cannot be read, or is damaged.
    """
    try:
        with local_file(path) as local:
            checksums.check(local)
            return np.fromfile(local, np.uint8)
    except (OSError, ValueError) as error:
        raise WeightsError(f"weights cannot be read from {path}: {error}") from None


def digest_of(weights: np.ndarray) -> str:
    """Return the SHA-256 (hex) of weights, (bytes,) uint8."""
    return hashlib.sha256(weights.data).hexdigest()

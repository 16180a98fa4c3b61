"""A frozen encoder as a value: what to build, its weights as bytes, and how its pixels are made.

It is read once, by the command, and sent to the processes that embed, so that all of them have the weights whose digest the
feature store is known by, and none needs to see the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from wsc_ray.encoders.model import PixelStatistics, create_backbone
from wsc_ray.encoders.weights import CONFIG, WEIGHTS, exported_name, exported_statistics
from wsc_ray.errors import WeightsError
from wsc_ray.files import local_file, read_json
from wsc_ray.storage import AnyPath

AS_TRAINED = "training"  # patches are resized as `pretrain` makes views


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """A backbone that is not trained any more.

    Attributes:
        name: timm's, with the tag of its weights.
        arguments: that timm needs to build it.
        size: side of a patch that it was made for, px.
        width: of its features.
        pixels: that its input is normalised with.
        interpolation: by which a patch of another size is resized.
        weights: safetensors, (bytes,) uint8.
        digest: SHA-256 (hex) of the weights.
    """

    name: str
    arguments: Mapping[str, Any]
    size: int
    width: int
    pixels: PixelStatistics
    interpolation: str
    weights: np.ndarray
    digest: str

    def load(self) -> nn.Module:
        """The backbone in eval mode: normalised pixels (n, 3, s, s) -> features (n, width).

        Raises:
            WeightsError: the weights are not of such a backbone.
        """
        backbone = create_backbone(self.name.partition(".")[0], dict(self.arguments))
        try:
            backbone.load_state_dict(safetensors.torch.load(self.weights.tobytes()))
        except (RuntimeError, SafetensorError) as error:
            raise WeightsError(
                f"the weights do not fit {self.name}: {str(error).splitlines()[-1].strip()}; is {WEIGHTS} that of its {CONFIG}?"
            ) from None
        return backbone.eval()


def read_exported(folder: AnyPath) -> FrozenEncoder:
    """The encoder that a run has exported (`RUN/encoder`).

    Raises:
        WeightsError: the folder holds none, or its files do not fit each other.
    """
    try:
        config = read_json(folder / CONFIG)
        name, arguments = exported_name(config), dict(config["model_args"])
        size, width = int(config["pretrained_cfg"]["input_size"][-1]), int(config["num_features"])
        pixels = exported_statistics(config)
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(
            f"{folder} holds no encoder ({CONFIG} and {WEIGHTS}); is the pretraining complete?"
        ) from None
    weights = read_weights(folder / WEIGHTS)
    encoder = FrozenEncoder(name, arguments, size, width, pixels, AS_TRAINED, weights, digest_of(weights))
    encoder.load()  # what does not fit is said before anything is written
    return encoder


def read_weights(path: AnyPath) -> np.ndarray:
    """The bytes of a file, (bytes,) uint8.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with local_file(path) as local:
            return np.fromfile(local, np.uint8)
    except OSError as error:
        raise WeightsError(f"weights cannot be read from {path}: {error}") from None


def digest_of(weights: np.ndarray) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(memoryview(weights)).hexdigest()

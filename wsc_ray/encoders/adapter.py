"""Export and read adapters, encoders of features: `model.safetensors` and a `config.json` that names their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from wsc_ray.encoders.frozen import digest_of, read_weights
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.encoders.model import PatchEncoder
from wsc_ray.encoders.weights import CONFIG, WEIGHTS, save_state
from wsc_ray.errors import WeightsError
from wsc_ray.files import first_line, read_json, write_json
from wsc_ray.recipe.sections import MLP
from wsc_ray.storage import AnyPath, shown


@dataclass(frozen=True, eq=False)
class FrozenAdapter:
    """An encoder of features whose training has ended.

    Attributes:
        shape: shape of the perceptron.
        encoder: digest or name of the encoder whose features it was trained on; None if unknown.
        digest: SHA-256 (hex) of the weights.
        source: where it comes from, for messages.
    """

    shape: MlpShape
    encoder: str | None
    digest: str
    source: str
    _module: FeatureMlp

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the adapted features (n, outputs) float32 of features (n, inputs) float32."""
        return self._module(torch.from_numpy(np.ascontiguousarray(features, np.float32))).numpy()


def export_adapter(encoder: PatchEncoder, folder: AnyPath, *, shape: MlpShape, features: str | None) -> None:
    """Write an encoder of features, `config.json` last.

    Args:
        features: digest or name of the encoder whose features it was trained on.
    """
    config = {
        "architecture": MLP,
        "num_classes": 0,
        "num_features": shape.outputs,
        "model_args": shape.to_json(),
        "features": {"encoder": features},
    }
    save_state(encoder.backbone, folder / WEIGHTS)
    write_json(folder / CONFIG, config)


def is_adapter(folder: AnyPath) -> bool:
    """Return whether a folder holds an exported encoder of features.

    Raises:
        WeightsError: its `config.json` is damaged.
    """
    return _architecture(folder) == MLP


def read_adapter(folder: AnyPath) -> FrozenAdapter:
    """Return the adapter in a folder.

    Raises:
        WeightsError: the folder holds none, or its files do not fit each other.
    """
    try:
        config = read_json(folder / CONFIG)
        sizes, encoder = config["model_args"], config["features"]["encoder"]
        shape = MlpShape(int(sizes["inputs"]), tuple(map(int, sizes["hidden"])), int(sizes["outputs"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(f"{folder} holds no encoder of features ({CONFIG} and {WEIGHTS})") from None
    weights = read_weights(folder / WEIGHTS)
    module = FeatureMlp(shape)
    try:
        module.load_state_dict(load(weights.tobytes()))
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{folder}: {WEIGHTS} does not fit {CONFIG}: {str(error).splitlines()[-1].strip()}"
        ) from None
    return FrozenAdapter(shape, encoder, digest_of(weights), shown(folder), module.eval())


def _architecture(folder: AnyPath) -> Any:
    try:
        config = read_json(folder / CONFIG)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / CONFIG} cannot be read: {first_line(error)}") from None
    return config.get("architecture") if isinstance(config, dict) else None

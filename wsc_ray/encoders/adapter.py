"""An exported encoder of features, an adapter: `model.safetensors` and a `config.json` that says which features it takes."""

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
    """An encoder of features that is not trained any more.

    Attributes:
        shape: of the perceptron.
        encoder: digest or name of the encoder whose features it was trained on; None where it was not known.
        digest: SHA-256 (hex) of the weights.
        source: where it is from, for people.
    """

    shape: MlpShape
    encoder: str | None
    digest: str
    source: str
    _module: FeatureMlp

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features (n, inputs) float32 -> (n, outputs) float32."""
        return self._module(torch.from_numpy(np.ascontiguousarray(features, np.float32))).numpy()


def export_adapter(encoder: PatchEncoder, folder: AnyPath, *, shape: MlpShape, features: str | None) -> None:
    """Write an encoder of features; `config.json` last.

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
    """Whether a folder holds an exported encoder of features.

    Raises:
        WeightsError: its `config.json` is damaged.
    """
    return _architecture(folder) == MLP


def read_adapter(folder: AnyPath) -> FrozenAdapter:
    """The adapter in a folder.

    Raises:
        WeightsError: there is none, or its files do not fit each other.
    """
    try:
        config = read_json(folder / CONFIG)
        known, encoder = config["model_args"], config["features"]["encoder"]
        shape = MlpShape(int(known["inputs"]), tuple(map(int, known["hidden"])), int(known["outputs"]))
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

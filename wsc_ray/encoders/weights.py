"""Read and write weights without pickle: as safetensors, and as a folder that timm loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from wsc_ray import checksums
from wsc_ray.encoders.frozen import make_backbone
from wsc_ray.encoders.model import (
    IMAGENET,
    PatchEncoder,
    PixelStatistics,
    backbone_arguments,
    statistics_of,
)
from wsc_ray.encoders.norm import Norm
from wsc_ray.errors import WeightsError
from wsc_ray.files import atomic, first_line, local_file, read_json, write_json
from wsc_ray.storage import AnyPath
from wsc_ray.uris import shown

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_ROOM = {checksums.KEY: checksums.ZEROS}


def save_state(module: nn.Module, path: AnyPath) -> None:
    """Write a module's state as safetensors with a checksum, in one step."""
    with atomic(path, checksum=True) as temporary:
        temporary.write_bytes(
            serialise({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}, _ROOM)
        )


def read_state(path: AnyPath) -> dict[str, torch.Tensor]:
    """Return the state in a safetensors file, or in a folder that holds `model.safetensors`.

    Raises:
        WeightsError: the file is missing, damaged, or not safetensors.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        with local_file(file) as local:
            checksums.check(local)
            return load_file(local)
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"weights cannot be read from {file}: {error}; give a .safetensors file or a folder with {WEIGHTS}"
        ) from None


def load_weights(encoder: PatchEncoder, path: AnyPath) -> None:
    """Load the weights in `path` into an encoder: those of a whole encoder with its head (a checkpoint), or of a backbone.

    A classifier that the backbone does not have (`fc.`, `head.`, `classifier.`) is left out; all other tensors must fit.

    Raises:
        WeightsError: the weights cannot be read, or belong to another backbone.
    """
    state = read_state(path)
    target: nn.Module = encoder
    if not any(key.startswith("backbone.") for key in state):
        target = encoder.backbone
        state = {
            k: v
            for k, v in state.items()
            if k in target.state_dict() or not k.startswith(("fc.", "head.", "classifier."))
        }
    wanted = target.state_dict()
    wrong = sorted(set(wanted) ^ set(state)) or sorted(k for k in wanted if wanted[k].shape != state[k].shape)
    if wrong:
        raise WeightsError(
            f"the weights in {path} belong to another encoder than this recipe's: {len(wrong)} tensors differ, such as {wrong[0]}"
        )
    target.load_state_dict(state)


def export_encoder(
    encoder: PatchEncoder,
    folder: AnyPath,
    *,
    name: str,
    size: int,
    norm: Norm = "batch",
    statistics: PixelStatistics = IMAGENET,
) -> None:
    """Write the backbone for `timm.create_model("local-dir:FOLDER")`, with timm's keys, `config.json` last.

    Args:
        statistics: mean and standard deviation that its pixels were normalised with.
    """
    architecture, _, tag = name.partition(".")
    pretrained = {
        "input_size": [3, size, size],
        **({"tag": tag} if tag else {}),
        **statistics.to_json(),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "num_classes": 0,
        "fixed_input_size": False,
    }
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": encoder.backbone.num_features,
        "model_args": backbone_arguments(name, size=size, norm=norm),
        "pretrained_cfg": pretrained,
    }
    save_state(encoder.backbone, folder / WEIGHTS)
    write_json(folder / CONFIG, config)


def exported_name(config: Mapping[str, Any]) -> str:
    """Return timm's name of an exported encoder, with the tag of its starting weights, from its `config.json`."""
    tag = config["pretrained_cfg"].get("tag")
    return f"{config['architecture']}.{tag}" if tag else config["architecture"]


def exported_statistics(config: Mapping[str, Any]) -> PixelStatistics:
    """Return the statistics that an exported encoder's pixels are normalised with, from its `config.json`."""
    pretrained = config["pretrained_cfg"]
    return PixelStatistics(tuple(pretrained["mean"]), tuple(pretrained["std"]))


def statistics_for(name: str, weights: str, path: AnyPath | None) -> PixelStatistics:
    """Return the pixel statistics that starting weights were trained with, for an encoder that starts from them.

    An exported folder (timm's or wsc-ray's) holds them in `config.json`, a checkpoint of a run in `state.json`; a single
    file is assumed to have those of timm's weights.

    Args:
        name: timm's name of the backbone.
        weights: `random`, `imagenet`, or the text of `path`.
        path: a file or folder of weights; None for `random` and `imagenet`.

    Raises:
        WeightsError: the folder's `config.json` or `state.json` is damaged.
    """
    if path is None:
        return IMAGENET if weights == "random" else statistics_of(name)
    try:
        if (path / CONFIG).is_file():
            return exported_statistics(read_json(path / CONFIG))
        if not (path / "state.json").is_file():
            return statistics_of(name)
        pixels = read_json(path / "state.json").get("pixels")
        return PixelStatistics(tuple(pixels["mean"]), tuple(pixels["std"])) if pixels else IMAGENET
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise WeightsError(
            f"{path} does not say what its pixels are normalised with: {CONFIG} or state.json is damaged; set encoder.pixel_mean and "
            "encoder.pixel_std, and give the .safetensors file alone"
        ) from None


def no_encoder(folder: AnyPath, error: Exception) -> str:
    """Return the sentence for the user about a folder whose `config.json` cannot be read."""
    if isinstance(error, FileNotFoundError):
        return f"{folder} holds no encoder ({CONFIG} and {WEIGHTS}); is the pretraining complete?"
    reason = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
    return f"{folder} holds no encoder that can be read ({CONFIG}: {reason}); `wsc-ray pretrain` on its run folder writes it anew"


def load_exported(folder: AnyPath) -> tuple[nn.Module, dict[str, Any]]:
    """Return the backbone in a folder, in eval mode, and its `config.json`.

    Raises:
        WeightsError: the folder holds no exported encoder.
    """
    try:
        config = read_json(folder / CONFIG)
        name, arguments = str(config["architecture"]), dict(config["model_args"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(no_encoder(folder, error)) from None
    backbone = make_backbone(name, arguments, shown(folder / CONFIG))
    state = read_state(folder)
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{folder}: {WEIGHTS} does not fit {name}: {str(error).splitlines()[-1].strip()}") from None
    return backbone.eval(), config

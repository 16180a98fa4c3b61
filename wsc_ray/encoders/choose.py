"""Load the frozen encoder that a user names: a run's export, a model that timm knows, or a folder that timm loads.

| name | encoder | normalisation and resizing of pixels |
| --- | --- | --- |
| `FOLDER` | `RUN/encoder`, as `pretrain` writes it | as in training |
| `timm:NAME` | timm's model with its weights, from the cache of Hugging Face | timm's `pretrained_cfg` |
| `local-dir:FOLDER` | `config.json` and `model.safetensors`, as timm saves a model and as many are published | `config.json` |

`pretrained_cfg` gives mean, standard deviation, input size and interpolation. timm's centre crop is not applied: an
encoder sees the whole patch, resized to its input size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import huggingface_hub
import numpy as np
import safetensors.torch
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from PIL.Image import Resampling
from safetensors import SafetensorError

from wsc_ray.encoders.frozen import AS_TRAINED, FrozenEncoder, digest_of, make_backbone, read_weights
from wsc_ray.encoders.model import PixelStatistics, backbone_arguments, require_name
from wsc_ray.encoders.weights import CONFIG, WEIGHTS, exported_name, exported_statistics, no_encoder
from wsc_ray.errors import WeightsError
from wsc_ray.files import read_json
from wsc_ray.storage import AnyPath, as_path, shown

TIMM, LOCAL = "timm:", "local-dir:"
_CLASSIFIERS = ("fc.", "head.", "classifier.", "head_dist.")


def choose_encoder(named: str | AnyPath, *, size: int | None = None, fetch: bool = False) -> FrozenEncoder:
    """Return the encoder that `named` names, ready for patches of `size` px (None: its own input size).

    Args:
        named: see the table above.
        fetch: fetch weights that are not in the cache from Hugging Face.

    Raises:
        WeightsError: the encoder does not exist, its files do not fit each other, or it does not take such patches.
    """
    text = str(named)
    if text.startswith(TIMM):
        encoder = _of_timm(text.removeprefix(TIMM), fetch)
    elif text.startswith(LOCAL):
        encoder = _of_folder(as_path(text.removeprefix(LOCAL)))
    else:
        encoder = _exported(as_path(named))
    return encoder.checked(size)


def _exported(folder: AnyPath) -> FrozenEncoder:
    try:
        config = read_json(folder / CONFIG)
        name, arguments = exported_name(config), _arguments(config["model_args"])
        size, pixels = int(config["pretrained_cfg"]["input_size"][-1]), exported_statistics(config)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise WeightsError(no_encoder(folder, error)) from None
    weights = read_weights(folder / WEIGHTS)
    return FrozenEncoder(name, arguments, size, 0, pixels, AS_TRAINED, weights, digest_of(weights), shown(folder))


def _of_folder(folder: AnyPath) -> FrozenEncoder:
    try:
        config = read_json(folder / CONFIG)
        config = {"pretrained_cfg": config, **config}  # timm's older form has all keys at one level
        pretrained = config["pretrained_cfg"]
        architecture, arguments = str(config["architecture"]), _arguments(config.get("model_args") or {})
        if pretrained.get("global_pool"):
            arguments.setdefault("global_pool", pretrained["global_pool"])
        size, name = int(pretrained["input_size"][-1]), exported_name(config)
        pixels = PixelStatistics(tuple(map(float, pretrained["mean"])), tuple(map(float, pretrained["std"])))
        interpolation = str(pretrained["interpolation"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise WeightsError(
            f"{folder} holds no encoder as timm saves one: its {CONFIG} is missing, or does not say architecture and pretrained_cfg "
            f"with input_size, mean, std and interpolation ({type(error).__name__}: {error})"
        ) from None
    where = shown(folder / CONFIG)
    require_name(architecture, where)
    _require_interpolation(interpolation, where)
    arguments = {**backbone_arguments(architecture, size=size), **arguments}
    file = read_weights(folder / WEIGHTS)
    state = _state(file, folder / WEIGHTS)
    wanted = make_backbone(architecture, arguments, where).state_dict()
    own = {key: value for key, value in state.items() if key in wanted or not key.startswith(_CLASSIFIERS)}
    weights = file if len(own) == len(state) else _bytes(own)
    # The digest is that of the whole file, also where its classifier is left out.
    return FrozenEncoder(
        name, arguments, size, 0, pixels, interpolation, weights, digest_of(file), f"{LOCAL}{shown(folder)}"
    )


def _of_timm(name: str, fetch: bool) -> FrozenEncoder:
    require_name(name, f"--encoder {TIMM}{name}")
    import timm

    pretrained = timm.get_pretrained_cfg(name)
    if pretrained is None or not pretrained.hf_hub_id:
        raise WeightsError(f"{TIMM}{name}: timm has no weights for it; name a folder with --encoder {LOCAL}FOLDER")
    full = f"{name.partition('.')[0]}.{pretrained.tag}" if pretrained.tag else name
    _require_interpolation(pretrained.interpolation, f"{TIMM}{full}")
    file = _cached(full, pretrained.hf_hub_id, pretrained.hf_hub_filename or WEIGHTS, fetch)
    size = pretrained.input_size[-1]
    arguments = backbone_arguments(full, size=size)
    weights = _bytes(_loaded_by_timm(full, file, arguments))
    pixels = PixelStatistics(tuple(pretrained.mean), tuple(pretrained.std))
    return FrozenEncoder(
        full, arguments, size, 0, pixels, pretrained.interpolation, weights, digest_of(weights), f"{TIMM}{full}"
    )


def _loaded_by_timm(name: str, file: str, arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the backbone's state after timm has loaded a file into it, with timm's own conversions.

    timm only logs tensors that the file lacks, and leaves their random values. The file is therefore loaded into two
    models with different random values: tensors that differ then are missing.

    Raises:
        WeightsError: the file does not belong to this model, or is not whole.
    """
    import timm

    drawn = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            try:
                model = timm.create_model(
                    name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": file}, **arguments
                )
            except (RuntimeError, SafetensorError, OSError) as error:
                raise WeightsError(
                    f"{TIMM}{name}: {file} does not hold its weights: {str(error).splitlines()[-1]}"
                ) from None
            drawn.append(model.state_dict())
    lacking = [key for key, value in drawn[0].items() if not torch.equal(value, drawn[1][key])]
    if lacking:
        raise WeightsError(
            f"{TIMM}{name}: {file} is not whole: {len(lacking)} tensors are missing, such as {lacking[0]}; delete it and fetch it again"
        )
    return drawn[0]


def _cached(name: str, repository: str, filename: str, fetch: bool) -> str:
    """Return the file of weights in the cache of Hugging Face (`HF_HOME`)."""
    if not filename.endswith(".safetensors"):
        raise WeightsError(
            f"{TIMM}{name}: its weights are published as {filename}, which is pickle; save them as {WEIGHTS} with timm's {CONFIG} and "
            f"name the folder with --encoder {LOCAL}FOLDER"
        )
    if fetch:
        try:
            return huggingface_hub.hf_hub_download(repository, filename)
        except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
            raise WeightsError(
                f"{TIMM}{name}: {filename} of {repository} cannot be fetched from Hugging Face: "
                f"{(str(error) or type(error).__name__).splitlines()[0]}"
            ) from None
    cached = huggingface_hub.try_to_load_from_cache(repository, filename)
    if not isinstance(cached, str):
        raise WeightsError(
            f"{TIMM}{name}: its weights are not in the cache of Hugging Face, and nothing is fetched unless asked for; give --fetch, or "
            f"run `hf download {repository} {filename}` where there is a network and take its cache (HF_HOME) here, or name a folder "
            f"with --encoder {LOCAL}FOLDER"
        )
    return cached


def _require_interpolation(name: str, where: str) -> None:
    if name.upper() not in Resampling.__members__:
        raise WeightsError(
            f"{where}: interpolation {name!r} is not known; there are {', '.join(r.name.lower() for r in Resampling)}"
        )


def _arguments(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `timm.create_model`, without the classifier's."""
    return {name: value for name, value in model_args.items() if name != "num_classes"}


def _state(file: np.ndarray, path: AnyPath) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(file.tobytes())
    except SafetensorError as error:
        raise WeightsError(f"weights cannot be read from {path}: {error}") from None


def _bytes(state: dict[str, torch.Tensor]) -> np.ndarray:
    return np.frombuffer(safetensors.torch.save({k: v.contiguous() for k, v in state.items()}), np.uint8)

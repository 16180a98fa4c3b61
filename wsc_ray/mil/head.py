"""The parts of an MIL head: a module over packed bags, its settings, and its name in the registry.

A head is one file of `wsc_ray/mil/heads/`, or of a plug-in. It defines a `PackedHead` and a subclass of `Settings`, which declares
the head's settings, how a search draws them, and how a module is built from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from wsc_ray import checksums
from wsc_ray.errors import RunFolderError, WeightsError
from wsc_ray.files import atomic, local_file, read_json, write_json
from wsc_ray.mil.space import DRAW, WITHIN, log_uniform, searched
from wsc_ray.plain_yaml import shortened
from wsc_ray.recipe.sections import Tune
from wsc_ray.registry import Registry
from wsc_ray.storage import AnyPath

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class PackedHead(nn.Module):
    """A classifier of bags that are packed one after the other, without padding.

    Features are standardised first with `mean` and `std`, buffers that fitting computes from its training slides: the features of
    different encoders have different scales, and a scale should be no advantage.

    Args:
        features: D, width of the features.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, features: int):
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def standardise(self, features: torch.Tensor) -> None:
        """Set `mean` and `std` to the mean and standard deviation of each dimension of `features` (n, D)."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        self.standardise_by(mean, std)

    def standardise_by(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Set `mean` and `std` to the given mean and standard deviation of each dimension, (D,) each."""
        # A constant dimension (a dead unit) varies by rounding errors only; dividing by its deviation would amplify these.
        constant = std <= 1e-6 * mean.abs() + 1e-12
        self.mean.copy_(mean)
        self.std.copy_(torch.where(constant, torch.ones_like(std), std))

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Return `features` (n, D) minus the mean, divided by the standard deviation."""
        return (features - self.mean).div_(self.std)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify bags.

        Args:
            features: (n, D), bags packed one after the other.
            offsets: (b + 1,) int64; bag i is rows `offsets[i]` to `offsets[i + 1]`. A bag may have no rows.

        Returns:
            The logits (b, C), and the attention (n,), which sums to 1 within each bag.
        """
        raise NotImplementedError("a head has a `forward` of its own")

    def training_losses(self, features: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each bag, (b,); a fit minimises their mean, weighted by class.

        By default it is the cross-entropy of the logits. A head with further losses overrides this method.

        Args:
            features, offsets: as in `forward`.
            labels: (b,) int64, below C.
        """
        logits, _ = self(features, offsets)
        return nn.functional.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class Settings(ABC):
    """The settings of one fit: those of the optimizer, and in a subclass also those of a head."""

    name: ClassVar[str]

    lr: float = searched(log_uniform)
    weight_decay: float = searched(log_uniform)

    @classmethod
    def ranges(cls, tune: Tune) -> list[tuple[str, Callable[[Any, float], Any], Sequence[Any]]]:
        """Return the fields that a search draws, in order: the name, the function that draws a value, and its range or values.

        Args:
            tune: the recipe's section with the ranges.
        """
        ranges = []
        for field in fields(cls):
            if DRAW in field.metadata:
                within = field.metadata[WITHIN]
                ranges.append(
                    (field.name, field.metadata[DRAW], getattr(tune, field.name) if within is None else within)
                )
        return ranges

    @classmethod
    def draws(cls) -> int:
        """Return the number of random numbers that `draw` takes: one for each `searched` field."""
        return sum(DRAW in field.metadata for field in fields(cls))

    @classmethod
    def draw(cls, tune: Tune, u: np.ndarray) -> Self:
        """Return settings that are drawn from the ranges.

        Args:
            tune: the recipe's section with the ranges.
            u: (draws,) numbers in [0, 1), for the searched fields in their order.
        """
        draws = zip(cls.ranges(tune), u, strict=True)
        return cls(**{name: draw(within, number) for (name, draw, within), number in draws})

    def of_module(self) -> dict[str, Any]:
        """Return the settings of the module, without those of the optimizer."""
        return {name: value for name, value in vars(self).items() if name not in ("lr", "weight_decay")}

    @abstractmethod
    def build(self, features: int, classes: int) -> PackedHead:
        """Return a module with random weights, for features of this width."""


HEADS: Registry[type[Settings]] = Registry("MIL head", "wsc_ray.mil.heads")


def settings_values(settings: Settings) -> dict[str, Any]:
    """Return settings as a dictionary, with the head's name as `head` first: the form for workers and records.

    A plug-in's own class cannot be sent to a worker, which imports the plug-in's module only when it reads `HEADS`.
    """
    return {"head": settings.name, **asdict(settings)}


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Return settings from a dictionary with the head's name as `head`; without a name they are settings of `abmil`.

    Raises:
        KeyError: no head has that name.
        TypeError: a setting is unknown to the head, or missing.
    """
    settings = dict(values)
    return HEADS[settings.pop("head", "abmil")](**settings)


def save_head(
    folder: AnyPath,
    head: PackedHead,
    settings: Settings,
    classes: Sequence[str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write `model.safetensors` and `config.json`; `extra` adds entries to the latter (how the head was chosen)."""
    placeholder = {checksums.KEY: checksums.ZEROS}
    with atomic(folder / WEIGHTS, checksum=True) as temporary:
        temporary.write_bytes(serialise({k: v.contiguous() for k, v in head.state_dict().items()}, placeholder))
    values = {"format": FORMAT, "head": settings.name, "features": head.features, **vars(settings)}
    write_json(folder / CONFIG, {**values, "classes": list(classes), **(extra or {})})


def load_head(folder: AnyPath) -> tuple[PackedHead, dict[str, Any]]:
    """Return a head in evaluation mode, and its `config.json` (`classes`, `features`, ...).

    Raises:
        RunFolderError: the folder holds no head.
        WeightsError: the head cannot be read, has another format, or comes from a plug-in that is not loaded.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise RunFolderError(f"{folder} holds no head ({WEIGHTS} and {CONFIG}); `wsc-ray tune` chooses one")
    try:
        config = read_json(folder / CONFIG)
        # The first format had one head, named attention-mil, and did not store lr and weight_decay.
        name = "abmil" if config["head"] == "attention-mil" else config["head"]
        if config["format"] != FORMAT or name not in HEADS:
            raise WeightsError(
                f"{folder} holds a head of another kind or format ({name}); use the wsc-ray that wrote it, with its plug-ins"
            )
        if not config["classes"] or not all(isinstance(label, str) for label in config["classes"]):
            raise WeightsError(f"{folder / CONFIG} names classes that are not texts; `wsc-ray tune` writes it anew")
        kind = HEADS[name]
        values = {"lr": 0.0, "weight_decay": 0.0, **config}
        settings = kind(**{field.name: values[field.name] for field in fields(kind)})
        head = settings.build(config["features"], len(config["classes"]))
        with local_file(folder / WEIGHTS) as weights:
            checksums.check(weights)
            head.load_state_dict(load_file(weights))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        OverflowError,
        MemoryError,
        SafetensorError,
    ) as error:
        if isinstance(error, WeightsError):
            raise
        reason = shortened(" ".join(str(error).split()) or type(error).__name__, 300)
        raise WeightsError(f"the head in {folder} cannot be read: {reason}; `wsc-ray tune` writes it anew") from None
    return head.eval(), config


def is_head(folder: AnyPath) -> bool:
    """Return whether a folder holds an undamaged head."""
    try:
        load_head(folder)
    except (RunFolderError, WeightsError):
        return False
    return True

"""What every MIL head has: a module over packed bags, its settings, and a name in the registry.

A head is one file of `wsc_ray/mil/heads/`, or of a plug-in: a `PackedHead`, and a class of `Settings` that says which settings it has, how
a search draws them, and how a module is made of them.
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
    """A classifier of bags that lie packed one after the other, without padding.

    Features are standardised first with `mean` and `std`, buffers that fitting takes from its training slides: the
    features of different encoders have any scale, and none should be at an advantage for it.

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
        """Take mean and standard deviation of each dimension from `features` (n, D)."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        self.standardise_by(mean, std)

    def standardise_by(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Take mean and standard deviation of each dimension as they are given, (D,) each."""
        # A dimension that never moves (a dead unit) carries only rounding; dividing by it would blow that up.
        still = std <= 1e-6 * mean.abs() + 1e-12
        self.mean.copy_(mean)
        self.std.copy_(torch.where(still, torch.ones_like(std), std))

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """`features` (n, D) with the mean taken out, in standard deviations."""
        return (features - self.mean) / self.std

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify bags.

        Args:
            features: (n, D), bags packed one after the other.
            offsets: (b + 1,) int64; bag i is rows `offsets[i]` to `offsets[i + 1]`. A bag may have no rows.

        Returns:
            logits (b, C), and attention (n,), which sums to 1 within each bag.
        """
        raise NotImplementedError("a head says how it classifies")

    def training_losses(self, features: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What a fit minimises: the loss of each bag, (b,), whose mean is taken with the weights of the classes.

        It is cross-entropy of the logits. A head with more to learn from than the bag's logits says so here.

        Args:
            features, offsets: as of `forward`.
            labels: (b,) int64, below C.
        """
        logits, _ = self(features, offsets)
        return nn.functional.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class Settings(ABC):
    """The settings of one fit: those of the optimizer, and in a subclass those of a head."""

    name: ClassVar[str]

    lr: float = searched(log_uniform)
    weight_decay: float = searched(log_uniform)

    @classmethod
    def ranges(cls, tune: Tune) -> list[tuple[str, Callable[[Any, float], Any], Sequence[Any]]]:
        """The fields that a search draws, in order: name, how it is drawn, and its range or values.

        Args:
            tune: the recipe's ranges.
        """
        found = []
        for each in fields(cls):
            if DRAW in each.metadata:
                within = each.metadata[WITHIN]
                found.append((each.name, each.metadata[DRAW], getattr(tune, each.name) if within is None else within))
        return found

    @classmethod
    def draws(cls) -> int:
        """How many random numbers `draw` takes: one for each field that is `searched`."""
        return sum(DRAW in each.metadata for each in fields(cls))

    @classmethod
    def draw(cls, tune: Tune, u: np.ndarray) -> Self:
        """The settings that a search tries.

        Args:
            tune: the recipe's ranges.
            u: (draws,) numbers in [0, 1), for the searched fields in their order.
        """
        found = zip(cls.ranges(tune), u, strict=True)
        return cls(**{name: draw(within, number) for (name, draw, within), number in found})

    def of_module(self) -> dict[str, Any]:
        """The settings that are the module's, and not the optimizer's."""
        return {name: value for name, value in vars(self).items() if name not in ("lr", "weight_decay")}

    @abstractmethod
    def build(self, features: int, classes: int) -> PackedHead:
        """A module with random weights for features of this width."""


HEADS: Registry[type[Settings]] = Registry("MIL head", "wsc_ray.mil.heads")


def settings_values(settings: Settings) -> dict[str, Any]:
    """Settings as a dictionary with the head's name as `head`, first: what travels to workers and is kept in records.

    A plug-in's own class cannot travel: a worker finds its module only when it reads `HEADS`.
    """
    return {"head": settings.name, **asdict(settings)}


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from a dictionary with the head's name as `head`; without it they are of `abmil`.

    Raises:
        KeyError: no head of that name.
        TypeError: settings that the head does not have, or lacks.
    """
    given = dict(values)
    return HEADS[given.pop("head", "abmil")](**given)


def save_head(
    folder: AnyPath,
    head: PackedHead,
    settings: Settings,
    classes: Sequence[str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write `model.safetensors` and `config.json`; `extra` is kept in the latter (how the head was chosen)."""
    room = {checksums.KEY: checksums.ZEROS}
    with atomic(folder / WEIGHTS, checksum=True) as temporary:
        temporary.write_bytes(serialise({k: v.contiguous() for k, v in head.state_dict().items()}, room))
    values = {"format": FORMAT, "head": settings.name, "features": head.features, **vars(settings)}
    write_json(folder / CONFIG, {**values, "classes": list(classes), **(extra or {})})


def load_head(folder: AnyPath) -> tuple[PackedHead, dict[str, Any]]:
    """A head in evaluation mode, and its `config.json` (`classes`, `features`, ...).

    Raises:
        RunFolderError: the folder holds no head.
        WeightsError: it holds one that cannot be read, of another format, or of a plug-in that is not there.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise RunFolderError(f"{folder} holds no head ({WEIGHTS} and {CONFIG}); `wsc-ray tune` chooses one")
    try:
        config = read_json(folder / CONFIG)
        # The first format called the only head so, and did not keep how it was fitted.
        name = "abmil" if config["head"] == "attention-mil" else config["head"]
        if config["format"] != FORMAT or name not in HEADS:
            raise WeightsError(
                f"{folder} holds a head of another kind or format ({name}); use the wsc-ray that wrote it, with its plug-ins"
            )
        if not config["classes"] or not all(isinstance(label, str) for label in config["classes"]):
            raise WeightsError(f"{folder / CONFIG} names classes that are not texts; `wsc-ray tune` writes it anew")
        kind = HEADS[name]
        known = {"lr": 0.0, "weight_decay": 0.0, **config}
        settings = kind(**{field.name: known[field.name] for field in fields(kind)})
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
    """Whether a folder holds a head, undamaged."""
    try:
        load_head(folder)
    except (RunFolderError, WeightsError):
        return False
    return True

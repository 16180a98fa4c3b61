"""The first steps of a training, with the package's own loop and losses, without Ray."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.collapse.encoders import Encoders, Kind
from wsc_ray.encoders import PatchEncoder
from wsc_ray.pretrain.loop import Loop, Metrics, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import PROGRESS, Recipe
from wsc_ray.stream.order import Geometry

CONSTANT = 0  # steps of the rise: the paper's constant weight
WARMUPS = {CONSTANT: "constant 1", PROGRESS: "progress (default)"}
SEED = 0


@dataclass(frozen=True)
class Setting:
    """A training of the grid; the weight of the similarity half is 1, after its rise."""

    kind: Kind
    batch_size: int
    steps: int
    lr: float
    warmup: int | str

    @property
    def name(self) -> str:
        """The name of the training's file."""
        return f"{self.kind.slug}-{self.batch_size}-{self.steps}-{self.lr:g}-{self.warmup}.json"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "encoder": self.kind.value, "kind": self.kind.slug}

    def recipe(self) -> Recipe:
        """The recipe: all other settings are defaults, except that the learning rate has no warm-up."""
        return training_recipe(self.batch_size, self.steps, self.lr, similarity_warmup=self.warmup)


def training_recipe(batch_size: int, steps: int, lr: float, **loss: Any) -> Recipe:
    """Return the recipe of the first steps; `loss` has settings of the section `loss`."""
    train = {"epochs": 1, "steps_per_epoch": steps, "batch_size": batch_size, "lr": lr}
    return validate_recipe(
        {"loss": loss, "stream": {"shards": 1}, "train": {**train, "warmup_epochs": 0, "log_every": 5}}
    )


def train(encoders: Encoders, setting: Setting) -> dict[str, Any]:
    """Train the first steps.

    Returns:
        `last`, the metrics of the last step, before its update; and `highest_cosine`, over every fifth step.
    """
    logged = take_steps(encoders, setting.kind, encoders.make(setting.kind, SEED), setting.recipe())
    return {"last": logged[-1], "highest_cosine": max(each["mean_cosine"] for each in logged)}


def take_steps(encoders: Encoders, kind: Kind, encoder: PatchEncoder, recipe: Recipe) -> list[Metrics]:
    """Train an encoder, and return the metrics of every fifth step and the last."""
    config, logged = recipe.train, list[Metrics]()
    assert config.steps_per_epoch is not None  # `training_recipe` gives it
    steps = config.steps_per_epoch
    loop = Loop(
        model=encoder,
        optimizer=make_optimizer(encoder, recipe),
        objective=make_objective(recipe.loss, pure=1),
        recipe=recipe,
        geometry=Geometry(SEED, "replacement", config.batch_size, 1, steps, steps),
        device=torch.device("cpu"),
        precision="fp32",
        on_log=lambda step, metrics: logged.append({"step": step, **metrics}),
        on_checkpoint=lambda step, metrics: None,
        statistics=encoders.statistics(kind),
    )
    loop.run(encoders.seen(kind).batches(config.batch_size, steps, SEED), 0)
    return logged

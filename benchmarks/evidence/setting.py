"""What differs between trainings, and the recipe that a training's setting stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import PROGRESS, Recipe

SHARDS = 1  # one process


@dataclass(frozen=True)
class Setting:
    """The settings that are chosen for an arm; all others are the same for every arm.

    Attributes:
        weight: weight of WeakSupCon's similarity half.
        rise: share of the steps over which the weight rises; None if it follows the contrastive half, the default of recipes.
        width: numbers that an adapter gives a patch.
        lr: highest learning rate.
    """

    method: str
    temperature: float = 0.1
    weight: float = 0.0
    rise: float | None = 0.0
    steps: int = 600
    width: int = 128
    lr: float = 0.1

    def recipe(self, seed: int, batch_size: int, sections: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a training.

        Args:
            sections: the sections that say what is trained, and from what.
        """
        loss: dict[str, Any] = {"method": self.method, "temperature": self.temperature}
        if self.method == "weaksupcon":
            loss["similarity_weight"] = self.weight
            loss["similarity_warmup"] = PROGRESS if self.rise is None else round(self.rise * self.steps)
        return validate_recipe(
            {
                "seed": seed,
                "loss": loss,
                "stream": {"sampling": "epoch", "shards": SHARDS},
                "train": {
                    "epochs": 1,
                    "steps_per_epoch": self.steps,
                    "batch_size": batch_size,
                    "lr": self.lr,
                    "warmup_epochs": 0.1,
                    "schedule": "cosine",
                    "log_every": 50,
                },
                **sections,
            }
        )

    @property
    def slug(self) -> str:
        """The setting as a part of a file's name."""
        rise = "progress" if self.rise is None else f"{self.rise:g}"
        return f"{self.temperature:g}-{self.weight:g}-{rise}-{self.width}-{self.lr:g}"

    def __str__(self) -> str:
        words = [f"temperature {self.temperature:g}", f"lr {self.lr:g}", f"{self.steps} steps"]
        if self.method == "weaksupcon":
            rise = "with progress" if self.rise is None else f"over {round(self.rise * self.steps)}"
            words.insert(1, f"weight {self.weight:g} rising {rise}")
        return ", ".join(words)

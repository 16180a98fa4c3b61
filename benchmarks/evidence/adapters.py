"""Training adapters on pseudo-slides with the package's own loop, sample order and losses, without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evidence.embedding import Features
from benchmarks.evidence.pool import Slides
from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.adapter import export_adapter
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.pretrain.loop import Loop, Metrics, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import PROGRESS, Recipe
from wsc_ray.stream.class_order import whole_groups
from wsc_ray.stream.order import MIXED, PURE, Geometry, window_picks
from wsc_ray.stream.views import pair_draws

SHARDS = 1  # one process
HIDDEN = 256  # width of the encoder's hidden layer
HEAD_HIDDEN = 128  # width of the projection head's hidden layer, whatever the width of the features


@dataclass(frozen=True)
class Setting:
    """The settings that are chosen for an arm; all others are the same for every arm.

    Attributes:
        weight: weight of WeakSupCon's similarity half.
        rise: share of the steps over which the weight rises; None if it follows the contrastive half, the default of recipes.
        width: numbers that the encoder gives a patch.
    """

    method: str
    temperature: float = 0.1
    weight: float = 0.0
    rise: float | None = 0.0
    steps: int = 600
    width: int = 128

    def recipe(self, seed: int, batch_size: int) -> Recipe:
        """Return the recipe of a training."""
        loss: dict[str, Any] = {"method": self.method, "temperature": self.temperature}
        if self.method == "weaksupcon":
            loss["similarity_weight"] = self.weight
            loss["similarity_warmup"] = PROGRESS if self.rise is None else round(self.rise * self.steps)
        return validate_recipe(
            {
                "seed": seed,
                "data": {"features": "pool"},
                "encoder": {"backbone": "mlp", "weights": "random", "mlp_hidden": [HIDDEN], "mlp_width": self.width},
                "loss": loss,
                "stream": {"sampling": "epoch", "shards": SHARDS},
                "train": {
                    "epochs": 1,
                    "steps_per_epoch": self.steps,
                    "batch_size": batch_size,
                    "lr": 0.1,
                    "warmup_epochs": 0.1,
                    "schedule": "cosine",
                    "log_every": 50,
                },
            }
        )

    @property
    def slug(self) -> str:
        """The setting as a part of a file's name."""
        rise = "progress" if self.rise is None else f"{self.rise:g}"
        return f"{self.temperature:g}-{self.weight:g}-{rise}-{self.width}"

    def __str__(self) -> str:
        words = [f"temperature {self.temperature:g}", f"{self.steps} steps"]
        if self.method == "weaksupcon":
            rise = "with progress" if self.rise is None else f"over {round(self.rise * self.steps)}"
            words.insert(1, f"weight {self.weight:g} rising {rise}")
        return ", ".join(words)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained encoder, its shape, and the health of its features at the end of training."""

    model: PatchEncoder
    shape: MlpShape
    last: Metrics

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> torch.Tensor:
        """Return the encoder's outputs (n, d) for features (n, D)."""
        return self.model.backbone(torch.from_numpy(features))

    def export(self, folder: Path, features: str) -> None:
        """Write the encoder as `wsc-ray pretrain` does.

        Args:
            features: digest of the encoder whose features it was trained on.
        """
        export_adapter(self.model, folder, shape=self.shape, features=features)


def train_adapter(
    setting: Setting, slides: Slides, features: Features, *, seed: int, batch_size: int, precision: str = "fp32"
) -> Trained:
    """Train an encoder.

    Args:
        precision: precision of the forward pass, `fp32` or `bf16`.
    """
    recipe = setting.recipe(seed, batch_size)
    torch.manual_seed(seed)
    shape = MlpShape(features.plain.shape[1], tuple(recipe.encoder.mlp_hidden), recipe.encoder.mlp_width)
    model = PatchEncoder(FeatureMlp(shape), HEAD_HIDDEN, recipe.encoder.head_dim)
    geometry = Geometry(
        seed=seed,
        sampling="epoch",
        batch_size=batch_size,
        shards=SHARDS,
        steps=setting.steps,
        window=min(16, setting.steps),
    )
    logged: list[Metrics] = []
    loop = Loop(
        model=model,
        optimizer=make_optimizer(model, recipe),
        objective=make_objective(recipe.loss, pure=1),
        recipe=recipe,
        geometry=geometry,
        device=torch.device("cpu"),
        precision=precision,
        on_log=lambda step, metrics: logged.append({"step": step, **metrics}),
        on_checkpoint=lambda step, metrics: None,
        statistics=None,
    )
    loop.run(batches(slides, features, geometry), 0)
    return Trained(model.eval(), shape, logged[-1])


def batches(slides: Slides, features: Features, geometry: Geometry) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the batch of every step, as the stream does: pure patches, then mixed ones, with two of the stored views of each."""
    halves = [slides.rows[~slides.positive], slides.rows[slides.positive]]
    orders = [whole_groups([slides.rows.shape[1]] * len(half)) for half in halves]
    for window in range(geometry.windows):
        picks = [window_picks(geometry, orders[kind], kind, 0, window, range(SHARDS)) for kind in (PURE, MIXED)]
        for number, step in enumerate(geometry.window_steps(window)):
            rows = np.concatenate([halves[kind][tuple(picks[kind][number].T)] for kind in (PURE, MIXED)])
            pairs = pair_draws(features.views.shape[1], len(rows), geometry.seed, step)
            yield {
                "views": features.views[features.place[rows][:, None], pairs],
                "label": np.repeat([0, 1], geometry.half),
                "step": np.full(len(rows), step),
            }

"""Training adapters on pseudo-slides, from the stored views of a frozen encoder's features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from benchmarks.evidence.embedding import Features, embed_pool
from benchmarks.evidence.kind import Kind
from benchmarks.evidence.options import Options
from benchmarks.evidence.pool import Pool, Slides
from benchmarks.evidence.setting import Setting
from benchmarks.evidence.training import geometry_of, half_batches, train
from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.adapter import export_adapter
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.pretrain.loop import Metrics
from wsc_ray.stream.order import Geometry
from wsc_ray.stream.views import pair_draws

HIDDEN = 256  # width of the encoder's hidden layer
HEAD_HIDDEN = 128  # width of the projection head's hidden layer, whatever the width of the features


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained adapter, its shape, and the health of its features at the end of training."""

    model: PatchEncoder
    shape: MlpShape
    last: Metrics

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> torch.Tensor:
        """Return the adapter's outputs (n, d) for features (n, D)."""
        return self.model.backbone(torch.from_numpy(features))

    def export(self, folder: Path, features: str) -> None:
        """Write the adapter as `wsc-ray pretrain` does.

        Args:
            features: digest of the encoder whose features it was trained on.
        """
        export_adapter(self.model, folder, shape=self.shape, features=features)


class AdapterTrainer:
    """Trains adapters of a frozen encoder's features; see `kind.Trainer`."""

    def __init__(
        self,
        folder: Path,
        table: pa.Table,
        pool: Pool,
        weights: Path,
        options: Options,
        *,
        trained: np.ndarray,
        seen: np.ndarray,
    ):
        self._options = options
        self._features = embed_pool(
            folder, table, pool, weights, trained=trained, seen=seen, views=options.views, pixels=options.pixels
        )

    @property
    def frozen(self) -> torch.Tensor:
        return torch.from_numpy(self._features.plain)

    def train(
        self, setting: Setting, slides: Slides, *, seed: int, export: Path | None
    ) -> tuple[torch.Tensor, Metrics]:
        how = {"batch_size": self._options.batch_size, "precision": self._options.precision}
        found = train_adapter(setting, slides, self._features, seed=seed, **how)
        if export is not None:
            found.export(export, self._features.encoder)
        return found(self._features.plain), found.last


def train_adapter(
    setting: Setting, slides: Slides, features: Features, *, seed: int, batch_size: int, precision: str = "fp32"
) -> Trained:
    """Train an adapter.

    Args:
        precision: precision of the forward pass, `fp32` or `bf16`.
    """
    mlp = {"backbone": "mlp", "weights": "random", "mlp_hidden": [HIDDEN], "mlp_width": setting.width}
    recipe = setting.recipe(seed, batch_size, {"data": {"features": "pool"}, "encoder": mlp})
    torch.manual_seed(seed)
    shape = MlpShape(features.plain.shape[1], tuple(recipe.encoder.mlp_hidden), recipe.encoder.mlp_width)
    model = PatchEncoder(FeatureMlp(shape), HEAD_HIDDEN, recipe.encoder.head_dim)
    geometry = geometry_of(recipe)
    last = train(model, recipe, geometry, batches(slides, features, geometry), precision=precision, statistics=None)
    return Trained(model.eval(), shape, last)


def batches(slides: Slides, features: Features, geometry: Geometry) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the batch of every step, with two of the stored views of each patch."""
    for step, rows in half_batches(slides, geometry):
        pairs = pair_draws(features.views.shape[1], len(rows), geometry.seed, step)
        yield {
            "views": features.views[features.place[rows][:, None], pairs],
            "label": np.repeat([0, 1], geometry.half),
            "step": np.full(len(rows), step),
        }


ADAPTERS = Kind(
    trainer=AdapterTrainer,
    candidates={
        "supcon": [Setting("supcon", temperature=t) for t in (0.1, 0.2, 0.5)],
        "simclr": [Setting("simclr", temperature=t) for t in (0.1, 0.2, 0.5)],
        "weaksupcon": [
            Setting("weaksupcon", weight=0.1, rise=1 / 3),
            Setting("weaksupcon", weight=1.0, rise=1 / 2),
            Setting("weaksupcon", weight=1.0, rise=1 / 2, temperature=0.5),
        ],
    },
)

"""Training the backbone itself on pseudo-slides, from ImageNet weights; every step draws new views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from benchmarks.backbones.small_maps import replace_depthwise, restore_depthwise
from benchmarks.evidence.adapters import HEAD_HIDDEN
from benchmarks.evidence.embedding import BACKBONE
from benchmarks.evidence.kind import Kind
from benchmarks.evidence.options import Options
from benchmarks.evidence.pool import Pool, Slides
from benchmarks.evidence.setting import Setting
from benchmarks.evidence.training import geometry_of, half_batches, train
from wsc_ray.encoders import PatchEncoder, build_encoder, export_encoder, load_weights, normalise_pixels
from wsc_ray.encoders.weights import statistics_for
from wsc_ray.pixels import decode
from wsc_ray.pretrain.loop import Metrics
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import resize
from wsc_ray.stream.order import Geometry
from wsc_ray.stream.parameters import view_draws
from wsc_ray.stream.views import DrawnViews

LOT = 256  # patches that are embedded at a time


class BackboneTrainer:
    """Trains backbones; see `kind.Trainer`."""

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
        self._options, self._weights = options, weights
        self._statistics = statistics_for(BACKBONE, str(weights), weights)
        self._rows = np.concatenate([trained, seen])
        files = table["image"].take(pa.array(self._rows)).to_pylist()
        self._images = {row: decode(file) for row, file in zip(self._rows.tolist(), files, strict=True)}
        self._patches = len(pool)

    @property
    def frozen(self) -> torch.Tensor:
        return self._features(self._start(0).backbone)

    def train(
        self, setting: Setting, slides: Slides, *, seed: int, export: Path | None
    ) -> tuple[torch.Tensor, Metrics]:
        pixels = self._options.pixels
        sections = {
            "data": {"manifest": "pool"},
            "encoder": {"backbone": BACKBONE, "weights": str(self._weights), "head_hidden": HEAD_HIDDEN},
            "augment": {"size": pixels, "vflip": 0.5, "rotate90": True},
        }
        recipe = setting.recipe(seed, self._options.batch_size, sections)
        model, geometry = self._start(seed), geometry_of(recipe)
        replace_depthwise(model)
        last = train(
            model,
            recipe,
            geometry,
            batches(slides, self._images, geometry, recipe.augment),
            precision=self._options.precision,
            statistics=self._statistics,
        )
        restore_depthwise(model)
        if export is not None:
            export_encoder(model, export, name=BACKBONE, size=pixels, statistics=self._statistics)
        return self._features(model.backbone), last

    def _start(self, seed: int) -> PatchEncoder:
        """Return the encoder that a training starts from, whose head depends on the seed."""
        torch.manual_seed(seed)
        model = build_encoder(BACKBONE, size=self._options.pixels, head_hidden=HEAD_HIDDEN, head_dim=128)
        load_weights(model, self._weights)
        return model

    @torch.inference_mode()
    def _features(self, backbone: nn.Module) -> torch.Tensor:
        """Return a backbone's features of whole patches, (n, D); NaN for those of the pool that are not used."""
        backbone.eval()
        found = []
        for start in range(0, len(self._rows), LOT):
            lot = [resize(self._images[row], self._options.pixels) for row in self._rows[start : start + LOT].tolist()]
            found.append(backbone(normalise_pixels(torch.from_numpy(np.stack(lot)), self._statistics)))
        features = torch.full((self._patches, found[0].shape[1]), torch.nan)
        features[torch.from_numpy(self._rows)] = torch.cat(found)
        return features


def batches(
    slides: Slides, images: Mapping[int, np.ndarray], geometry: Geometry, augment: Augment
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the batch of every step, with two new views of each patch.

    Args:
        images: row of the pool -> (h, w, 3) uint8.
    """
    for step, rows in half_batches(slides, geometry):
        views = DrawnViews(augment, len(rows), view_draws(len(rows), geometry.seed, step))
        for position, row in enumerate(rows.tolist()):
            views.add(images[row], position)
        yield {**views.columns(), "label": np.repeat([0, 1], geometry.half), "step": np.full(len(rows), step)}


BACKBONES = Kind(  # the defaults of recipes, but for the learning rate
    trainer=BackboneTrainer,
    candidates={
        "supcon": [Setting("supcon", lr=0.03)],
        "simclr": [Setting("simclr", lr=0.03)],
        "weaksupcon": [Setting("weaksupcon", weight=1.0, rise=None, lr=0.03)],
    },
)

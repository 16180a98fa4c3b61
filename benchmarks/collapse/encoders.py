"""The encoders of a grid, each with what it sees and how its training is measured."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

import numpy as np
import torch

from benchmarks.collapse.views import Views, draw_views, embed_views, read_patches
from wsc_ray.encoders import IMAGENET, PatchEncoder, PixelStatistics, build_encoder, load_weights
from wsc_ray.encoders.mlp import FeatureMlp, MlpShape
from wsc_ray.encoders.weights import statistics_for
from wsc_ray.files import atomic

CNN, IMAGENET_CNN = "test_resnet", "tf_efficientnet_lite0"
CNN_PIXELS, IMAGENET_PIXELS = 32, 48
HEAD_DIM = 128


class Kind(Enum):
    """An encoder with the weights that it starts from; the value is for people."""

    RANDOM = f"CNN of 0.4 M, {CNN_PIXELS} px, random"
    PRETRAINED = f"EfficientNet-Lite0, {IMAGENET_PIXELS} px, ImageNet"
    ADAPTER = "adapter of its features, random"

    @property
    def slug(self) -> str:
        """Of a file's name."""
        return self.name.lower()


class Encoders:
    """Makes encoders, and what they see.

    Args:
        folder: that views and features are kept in, so that an interrupted grid goes on.
        patches: a Parquet table, see `read_patches`.
        weights: a folder with ImageNet weights of tf_efficientnet_lite0.
        count: patches of each class.
        views: of each patch.
    """

    def __init__(self, folder: Path, patches: Path, weights: Path, *, count: int, views: int):
        self.folder, self.patches, self.weights = folder, patches, weights
        self.count, self.views = count, views

    def make(self, kind: Kind, seed: int) -> PatchEncoder:
        """A new encoder with the recipe's default head."""
        torch.manual_seed(seed)
        if kind is Kind.RANDOM:
            return build_encoder(CNN, size=CNN_PIXELS, head_hidden=None, head_dim=HEAD_DIM)
        if kind is Kind.PRETRAINED:
            return self._pretrained()
        shape = MlpShape(self.seen(kind).values.shape[-1], (512,), 256)
        return PatchEncoder(FeatureMlp(shape), shape.outputs, HEAD_DIM)

    def statistics(self, kind: Kind) -> PixelStatistics | None:
        """That pixels are normalised with; None of features."""
        if kind is Kind.ADAPTER:
            return None
        return IMAGENET if kind is Kind.RANDOM else statistics_for(IMAGENET_CNN, str(self.weights), self.weights)

    def seen(self, kind: Kind) -> Views:
        """What the encoder is trained on; pixels, or features of pixels."""
        if kind is Kind.ADAPTER:
            return self._kept("features", self._features)
        size = CNN_PIXELS if kind is Kind.RANDOM else IMAGENET_PIXELS
        return self._kept(f"views-{size}", lambda: draw_views(read_patches(self.patches, self.count), size, self.views))

    def _features(self) -> Views:
        statistics = self.statistics(Kind.PRETRAINED)
        assert statistics is not None  # it sees pixels
        return embed_views(self.seen(Kind.PRETRAINED), self._pretrained(), statistics)

    def _pretrained(self) -> PatchEncoder:
        encoder = build_encoder(IMAGENET_CNN, size=IMAGENET_PIXELS, head_hidden=None, head_dim=HEAD_DIM)
        load_weights(encoder, self.weights)
        return encoder

    def _kept(self, name: str, make: Callable[[], Views]) -> Views:
        """What `make` gives, from its file where that is there."""
        file = self.folder / f"{name}.npy"
        if not file.exists():
            with atomic(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, make().values)
        return Views(np.load(file))

"""The encoders of a grid, and the pixels or features that each is trained on."""

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
    """An encoder and its starting weights; the value is a name for people."""

    RANDOM = f"CNN of 0.4 M, {CNN_PIXELS} px, random"
    PRETRAINED = f"EfficientNet-Lite0, {IMAGENET_PIXELS} px, ImageNet"
    ADAPTER = "adapter of its features, random"

    @property
    def slug(self) -> str:
        """The kind's part of a file name."""
        return self.name.lower()


class Encoders:
    """Makes encoders and their inputs.

    Args:
        folder: folder in which views and features are kept, so that an interrupted grid can go on.
        patches: a Parquet table, see `read_patches`.
        weights: folder with ImageNet weights of tf_efficientnet_lite0.
        count: number of patches of each class.
        views: number of views of each patch.
    """

    def __init__(self, folder: Path, patches: Path, weights: Path, *, count: int, views: int):
        self.folder, self.patches, self.weights = folder, patches, weights
        self.count, self.views = count, views

    def make(self, kind: Kind, seed: int) -> PatchEncoder:
        """Return a new encoder with the recipe's default head."""
        width = self.seen(kind).values.shape[
            -1
        ]  # before the seed: features that are made here draw random numbers, too
        torch.manual_seed(seed)
        if kind is Kind.RANDOM:
            return build_encoder(CNN, size=CNN_PIXELS, head_hidden=None, head_dim=HEAD_DIM)
        if kind is Kind.PRETRAINED:
            return self._pretrained()
        shape = MlpShape(width, (512,), 256)
        return PatchEncoder(FeatureMlp(shape), shape.outputs, HEAD_DIM)

    def statistics(self, kind: Kind) -> PixelStatistics | None:
        """Return the statistics that normalise pixels; None for an encoder of features."""
        if kind is Kind.ADAPTER:
            return None
        return IMAGENET if kind is Kind.RANDOM else statistics_for(IMAGENET_CNN, str(self.weights), self.weights)

    def seen(self, kind: Kind) -> Views:
        """Return the views that the encoder is trained on: pixels, or features."""
        if kind is Kind.ADAPTER:
            return self._kept("features", self._features)
        size = CNN_PIXELS if kind is Kind.RANDOM else IMAGENET_PIXELS
        return self._kept(f"views-{size}", lambda: draw_views(read_patches(self.patches, self.count), size, self.views))

    def _features(self) -> Views:
        statistics = self.statistics(Kind.PRETRAINED)
        assert statistics is not None  # the encoder sees pixels
        return embed_views(self.seen(Kind.PRETRAINED), self._pretrained(), statistics)

    def _pretrained(self) -> PatchEncoder:
        encoder = build_encoder(IMAGENET_CNN, size=IMAGENET_PIXELS, head_hidden=None, head_dim=HEAD_DIM)
        load_weights(encoder, self.weights)
        return encoder

    def _kept(self, name: str, make: Callable[[], Views]) -> Views:
        """Return the views from their file; if it is missing, make and store them."""
        file = self.folder / f"{name}.npy"
        if not file.exists():
            with atomic(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, make().values)
        return Views(np.load(file))

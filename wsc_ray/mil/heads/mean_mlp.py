"""`mean-mlp`: the mean of embedded instances, classified by a perceptron of two layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_sum
from wsc_ray.mil.space import choice, searched, uniform


@HEADS.register("mean-mlp")
@dataclass(frozen=True)
class MeanMLPSettings(Settings):
    """Settings of `MeanMLP`; the recipe gives their ranges."""

    name: ClassVar[str] = "mean-mlp"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)

    def build(self, features: int, classes: int) -> MeanMLP:
        return MeanMLP(features, classes, **self.of_module())


class MeanMLP(PackedHead):
    """Instance embedding, its mean over a bag, and a classifier of two layers; every instance has the same attention.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: L, width of the embedding and of the layer after the mean.
        dropout: on the embedding and before the last layer.
    """

    def __init__(self, features: int, classes: int, *, hidden: int, dropout: float = 0.0):
        super().__init__(features)
        self.embed = nn.Linear(features, hidden)
        self.layer = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from an embedding of zeros."""
        bag = bag_of_rows(offsets)  # (n,)
        weights = 1 / offsets.diff().to(features.dtype)[bag]  # (n,)
        h = self.dropout(torch.relu(self.embed(self.standardised(features))))  # (n, L)
        mean = segment_sum(weights[:, None] * h, bag, len(offsets) - 1)  # (b, L)
        return self.classify(self.dropout(torch.relu(self.layer(mean)))), weights

"""`instance-mean`: every instance is classified by itself, and a bag's logits are the mean of its instances' logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_sum
from wsc_ray.mil.space import choice, searched, uniform


@HEADS.register("instance-mean")
@dataclass(frozen=True)
class InstanceMeanSettings(Settings):
    """Settings of `InstanceMean`; the recipe gives their ranges."""

    name: ClassVar[str] = "instance-mean"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)

    def build(self, features: int, classes: int) -> InstanceMean:
        return InstanceMean(features, classes, **self.of_module())


class InstanceMean(PackedHead):
    """A perceptron of two layers on each instance, whose logits are averaged; every instance has the same attention.

    With one layer it would be the head `mean`, since the mean of a linear function equals the function of the mean.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: L, width of the hidden layer.
        dropout: before the last layer.
    """

    def __init__(self, features: int, classes: int, *, hidden: int, dropout: float = 0.0):
        super().__init__(features)
        self.embed = nn.Linear(features, hidden)
        self.dropout = Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows has logits of zero."""
        bag = bag_of_rows(offsets)  # (n,)
        weights = 1 / offsets.diff().to(features.dtype)[bag]  # (n,)
        h = self.dropout(torch.relu(self.embed(self.standardised(features))))  # (n, L)
        return segment_sum(weights[:, None] * self.classify(h), bag, len(offsets) - 1), weights

"""`mean`: the mean of a bag's features, classified linearly. The smallest head, and the one to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_sum
from wsc_ray.mil.space import searched, uniform


@HEADS.register("mean")
@dataclass(frozen=True)
class MeanSettings(Settings):
    """Settings of `MeanPool`; their ranges are the recipe's."""

    name: ClassVar[str] = "mean"

    dropout: float = searched(uniform)

    def build(self, features: int, classes: int) -> MeanPool:
        return MeanPool(features, classes, **self.of_module())


class MeanPool(PackedHead):
    """A linear classifier of a bag's mean; every instance has the same attention."""

    def __init__(self, features: int, classes: int, *, dropout: float = 0.0):
        super().__init__(features)
        self.dropout = Dropout(dropout)
        self.classify = nn.Linear(features, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from zeros."""
        bag = bag_of_rows(offsets)  # (n,)
        weights = 1 / offsets.diff().to(features.dtype)[bag]  # (n,)
        x = self.standardised(features)
        mean = segment_sum(weights[:, None] * x, bag, len(offsets) - 1)  # (b, D)
        return self.classify(self.dropout(mean)), weights

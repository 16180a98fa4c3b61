"""`max`: the largest value of each feature in a bag, classified linearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_argmax
from wsc_ray.mil.space import searched, uniform


@HEADS.register("max")
@dataclass(frozen=True)
class MaxSettings(Settings):
    """Settings of `MaxPool`; the recipe gives their ranges."""

    name: ClassVar[str] = "max"

    dropout: float = searched(uniform)

    def build(self, features: int, classes: int) -> MaxPool:
        return MaxPool(features, classes, **self.of_module())


class MaxPool(PackedHead):
    """A linear classifier of the maxima; an instance's attention is the share of features whose maximum it has."""

    def __init__(self, features: int, classes: int, *, dropout: float = 0.0):
        super().__init__(features)
        self.dropout = Dropout(dropout)
        self.classify = nn.Linear(features, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from zeros."""
        x = self.standardised(features)
        rows = segment_argmax(x, bag_of_rows(offsets), len(offsets) - 1)  # (b, D)
        top = torch.cat([x, x.new_zeros(1, x.shape[1])]).gather(0, rows)  # (b, D)
        # The row past the last stands for empty bags.
        largest = torch.bincount(rows.flatten(), minlength=len(x) + 1)[: len(x)]
        return self.classify(self.dropout(top)), largest.to(x.dtype) / x.shape[1]

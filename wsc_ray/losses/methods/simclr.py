"""`simclr`: every patch is contrasted with every other, whatever its slide's label (Chen et al. 2020, arXiv 2002.05709)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsc_ray.losses.method import METHODS, Method, without_similarity
from wsc_ray.losses.ntxent import ntxent_loss
from wsc_ray.losses.weaksupcon import WeakSupConTerms


@METHODS.register("simclr")
@dataclass(frozen=True)
class SimCLR(Method):
    """See `wsc_ray.losses.ntxent_loss`."""

    def __call__(
        self, views: torch.Tensor, labels: torch.Tensor, similarity_weight: torch.Tensor | float
    ) -> WeakSupConTerms:
        return without_similarity(
            ntxent_loss(views[:, 0], views[:, 1], temperature=self.temperature, base_temperature=self.base_temperature)
        )

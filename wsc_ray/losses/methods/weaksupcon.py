"""`weaksupcon`: patches of pure slides are pulled together, those of mixed slides contrasted (arXiv 2602.09477)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from wsc_ray.losses.method import METHODS, Method
from wsc_ray.losses.weaksupcon import WeakSupConLoss, WeakSupConTerms


@METHODS.register("weaksupcon")
@dataclass(frozen=True)
class WeakSupCon(Method):
    """See `wsc_ray.losses.WeakSupConLoss`."""

    @cached_property
    def _loss(self) -> WeakSupConLoss:
        pure = tuple(range(self.pure))
        return WeakSupConLoss(pure=pure, temperature=self.temperature, base_temperature=self.base_temperature)

    def __call__(
        self, views: torch.Tensor, labels: torch.Tensor, similarity_weight: torch.Tensor | float
    ) -> WeakSupConTerms:
        return self._loss(views, labels, similarity_weight=similarity_weight)

    def contrasted(self, labels: torch.Tensor) -> torch.Tensor:
        return labels >= self.pure

"""`supcon`: views that share a slide label are pulled together (Khosla et al. 2020, arXiv 2004.11362)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsc_ray.losses.method import METHODS, Method, without_similarity
from wsc_ray.losses.supcon import supcon_loss
from wsc_ray.losses.weaksupcon import WeakSupConTerms


@METHODS.register("supcon")
@dataclass(frozen=True)
class SupCon(Method):
    """See `wsc_ray.losses.supcon_loss`.

    The loss contrasts labels, never patches of one label; yet its features must not collapse, so that all patches count
    as contrasted.
    """

    def __call__(
        self, views: torch.Tensor, labels: torch.Tensor, similarity_weight: torch.Tensor | float
    ) -> WeakSupConTerms:
        return without_similarity(
            supcon_loss(
                views,
                labels.to(views.device),
                temperature=self.temperature,
                base_temperature=self.base_temperature,
            )
        )

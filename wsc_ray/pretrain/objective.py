"""The three methods that the paper compares, as one call on the views of a step."""

from __future__ import annotations

import torch

from wsc_ray.losses import WeakSupConLoss, WeakSupConTerms, ntxent_loss, supcon_loss
from wsc_ray.recipe.sections import Loss


class Objective:
    """The loss of a recipe over the global batch.

    Args:
        config: which method, with which temperatures.
        pure: how many of the labels are pure; they are 0 .. pure-1.
    """

    def __init__(self, config: Loss, pure: int):
        self.config, self.pure = config, pure
        self.weaksupcon = WeakSupConLoss(
            pure=tuple(range(pure)), temperature=config.temperature, base_temperature=config.base_temperature
        )

    def __call__(self, views: torch.Tensor, labels: torch.Tensor, similarity_weight: float) -> WeakSupConTerms:
        """The terms for views (n, 2, d), unit vectors, and slide labels (n,), on the host; the same on every worker.

        SimCLR tells every patch apart and ignores labels; SupCon pulls together all views that share a slide label.
        Their similarity term is 0.
        """
        temperatures = {"temperature": self.config.temperature, "base_temperature": self.config.base_temperature}
        if self.config.method == "weaksupcon":
            return self.weaksupcon(views, labels, similarity_weight=similarity_weight)
        if self.config.method == "simclr":
            value = ntxent_loss(views[:, 0], views[:, 1], **temperatures)
        else:
            value = supcon_loss(views, labels.to(views.device), **temperatures)
        return WeakSupConTerms(value, torch.zeros_like(value), value)

    def contrasted(self, labels: torch.Tensor) -> torch.Tensor:
        """Which patches (n,) bool the loss tells apart one by one: the mixed ones, with SimCLR all of them.

        SupCon tells classes apart, never patches of one label: all of them again, where one point is no aim either.
        """
        return labels >= self.pure if self.config.method == "weaksupcon" else torch.ones_like(labels, dtype=torch.bool)

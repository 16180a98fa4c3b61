"""The base class of pretraining methods: the loss of a step's views, and the patches that it contrasts.

Each method is one file of `wsc_ray/losses/methods/`, or of a plug-in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from wsc_ray.losses.weaksupcon import WeakSupConTerms
from wsc_ray.registry import Registry


@dataclass(frozen=True)
class Method(ABC):
    """The loss of a recipe over the global batch.

    Attributes:
        pure: number of pure labels, which are 0 .. pure-1.
        temperature: t in the loss.
        base_temperature: t0 in the loss.
    """

    pure: int
    temperature: float
    base_temperature: float

    @abstractmethod
    def __call__(
        self, views: torch.Tensor, labels: torch.Tensor, similarity_weight: torch.Tensor | float
    ) -> WeakSupConTerms:
        """Return the terms of the loss, the same on every worker.

        A method without a similarity half gives 0 for it.

        Args:
            views: (n, 2, d), unit vectors.
            labels: slide labels (n,), on the host.
        """

    def contrasted(self, labels: torch.Tensor) -> torch.Tensor:
        """Return which patches, (n,) bool, the loss contrasts, so that their features must not collapse: by default all."""
        return torch.ones_like(labels, dtype=torch.bool)


METHODS: Registry[type[Method]] = Registry("pretraining method", "wsc_ray.losses.methods")


def without_similarity(value: torch.Tensor) -> WeakSupConTerms:
    """Return the terms of a method that has no similarity half."""
    return WeakSupConTerms(value, torch.zeros_like(value), value)

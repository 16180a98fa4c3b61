"""What a pretraining method is: the loss of the views of a step, and which patches it contrasts.

A method is one file of `wsc_ray/losses/methods/`, or of a plug-in.
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
        pure: how many of the slide labels are pure; they are 0 .. pure-1.
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
        """The terms for views (n, 2, d), unit vectors, and slide labels (n,), on the host; the same on every worker.

        A method without a similarity half gives 0 for it.
        """

    def contrasted(self, labels: torch.Tensor) -> torch.Tensor:
        """Which patches (n,) bool the loss tells from each other, so that one point is no aim for them: by default all."""
        return torch.ones_like(labels, dtype=torch.bool)


METHODS: Registry[type[Method]] = Registry("pretraining method", "wsc_ray.losses.methods")


def without_similarity(value: torch.Tensor) -> WeakSupConTerms:
    """The terms of a method that has one part."""
    return WeakSupConTerms(value, torch.zeros_like(value), value)

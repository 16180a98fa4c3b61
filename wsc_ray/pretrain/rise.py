"""The rise of the similarity half's weight with the contrastive half, `loss.similarity_warmup: progress`.

`docs/collapse.md` has the reasons and figures.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wsc_ray.recipe.sections import Loss

FULL_PROGRESS = 0.5  # of the contrastive half, from which on the similarity half may have its whole weight
POWER = 3
STEPS = 200  # of the quickest rise from 0 to the whole weight: many times the ten steps that momentum 0.9 remembers


def progress(contrastive: Tensor, patches: int, config: Loss) -> Tensor:
    """How far the contrastive half has come, a scalar.

        p = (L1 - L) / (L1 - L0)

    L1 = (t / t0) ln(2n - 1) is the loss when all features are one point, and L0 = (t / t0) ln(1 + (2n - 2) exp(-1 / t)) when the two
    views of a patch are equal and different patches orthogonal. Features that contradict the views have a p below 0.

    Args:
        contrastive: L over the global batch, a scalar.
        patches: n, the patches that it tells apart. Without two of them there is nothing to tell, and p is 0.
        config: t and t0.
    """
    if patches < 2:
        return torch.zeros_like(contrastive)
    others, t = 2 * patches - 2, config.temperature
    point, apart = math.log1p(others), math.log1p(others * math.exp(-1 / t))  # L1 and L0, by t / t0
    return (point - contrastive * (config.base_temperature / t)) / (point - apart)


def next_share(share: Tensor, contrastive: Tensor, patches: int, config: Loss) -> Tensor:
    """How much of its weight the similarity half has in the next step, from 0 to 1.

        min(share + 1 / 200, min(1, p / 0.5)^3)

    It waits until the contrastive half has something to lose, rises slowly, and falls at once when features fall together. The same on
    every worker, since the loss is.

    Args:
        share: what it has in this step, 0 in the first; a float64 scalar, so that a checkpoint keeps it to the last bit.
        contrastive: this step's contrastive half, a scalar without a graph.
        patches, config: as in `progress`.
    """
    allowed = (progress(contrastive.double(), patches, config) / FULL_PROGRESS).clamp(0, 1) ** POWER
    return torch.minimum(allowed, share + 1 / STEPS)

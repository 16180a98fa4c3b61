"""The rise of the similarity half's weight with the progress of the contrastive half: `loss.similarity_warmup: progress`.

The reasons and figures are in `docs/collapse.md`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wsc_ray.recipe.sections import Loss

FULL_PROGRESS = 0.5  # progress of the contrastive half from which on the similarity half may have its whole weight
POWER = 3
STEPS = 200  # steps of the fastest rise from 0 to the whole weight: many times the ten that momentum 0.9 remembers


def progress(contrastive: Tensor, patches: int, config: Loss) -> Tensor:
    """Return the progress p of the contrastive half, a scalar.

        p = (L1 - L) / (L1 - L0)

    L1 = (t / t0) ln(2n - 1) is the loss if all features are one point. L0 = (t / t0) ln(1 + (2n - 2) exp(-1 / t)) is the loss if the
    two views of a patch are equal and different patches are orthogonal. If the views of a patch are less alike than different patches,
    p is below 0.

    Args:
        contrastive: L over the global batch, a scalar.
        patches: n, the number of mixed patches in the global batch. With fewer than two there is nothing to tell apart, and p is 0.
        config: the settings with t (`temperature`) and t0 (`base_temperature`).
    """
    if patches < 2:
        return torch.zeros_like(contrastive)
    others, t = 2 * patches - 2, config.temperature
    point, apart = math.log1p(others), math.log1p(others * math.exp(-1 / t))  # L1 and L0, by t / t0
    return (point - contrastive * (config.base_temperature / t)) / (point - apart)


def next_share(share: Tensor, contrastive: Tensor, patches: int, config: Loss) -> Tensor:
    """Return the share of its weight that the similarity half has at the next step, a scalar from 0 to 1.

        min(share + 1 / 200, min(1, p / 0.5)^3)

    The share stays near 0 until the contrastive half has something to lose, rises slowly, and falls at once when features collapse. It is
    the same on every worker, because the loss is.

    Args:
        share: the share at this step, 0 at the first; a float64 scalar, so that a checkpoint stores it exactly.
        contrastive: the contrastive half at this step, a scalar without a graph.
        patches, config: as in `progress`.
    """
    allowed = (progress(contrastive.double(), patches, config) / FULL_PROGRESS).clamp(0, 1) ** POWER
    return torch.minimum(allowed, share + 1 / STEPS)

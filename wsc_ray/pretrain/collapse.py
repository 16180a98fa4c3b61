"""Detect collapse: the features of patches that the loss should separate have become one point.

The contrastive half then has its value for equal features, (t / t0) ln(2n - 1), its gradient is zero, and training does
not recover by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLE = 256  # number of patches to measure; bounds the cost to some milliseconds
MEAN_COSINE = 0.98
EFFECTIVE_RANK = 2.0


@torch.no_grad()
def feature_health(views: Tensor) -> dict[str, float]:
    """Return the measures of features that show a collapse.

    Args:
        views: (n, 2, d) unit vectors of patches that the loss contrasts, two views each; n >= 2.

    Returns:
        mean_cosine: mean cosine between views of different patches, 1 when all are equal.
        effective_rank: exp of the entropy of the singular values (Roy and Vetterli 2007), 1 when all views are equal, at
            most d.
        alignment: mean squared distance of a patch's two views, 0 when equal (Wang and Isola 2020).
        uniformity: ln of the mean of exp(-2 |a - b|^2) over views of different patches, 0 when all are equal, lower
            when they are spread (Wang and Isola 2020).
    """
    views = views.float()
    z = views.flatten(0, 1)
    cosine = z @ z.T
    patch = torch.arange(len(views), device=z.device).repeat_interleave(2)
    others = cosine[patch[:, None] != patch]
    singular = torch.linalg.svdvals(z)
    share = singular / singular.sum()
    return {
        "mean_cosine": others.mean().item(),
        "effective_rank": torch.exp(-torch.xlogy(share, share).sum()).item(),
        "alignment": (views[:, 0] - views[:, 1]).square().sum(1).mean().item(),
        "uniformity": torch.exp(-2 * (2 - 2 * others)).mean().log().item(),
    }


def has_collapsed(health: dict[str, float]) -> bool:
    """Return whether features are one point, by their mean cosine and effective rank together."""
    return health["mean_cosine"] > MEAN_COSINE and health["effective_rank"] < EFFECTIVE_RANK


def sentence(step: int, health: dict[str, float], method: str) -> str:
    """Return the sentence that tells the user of a collapse and what to do.

    Args:
        method: name of the loss, on which the advice depends.
    """
    advice = "a smaller train.lr or a larger loss.temperature"
    if method == "weaksupcon":
        advice = "loss.similarity_warmup: progress, or where it is that already with a smaller loss.similarity_weight or train.lr"
    return (
        f"step {step:,}: the features have collapsed to one point (mean cosine {health['mean_cosine']:.3f}, effective "
        f"rank {health['effective_rank']:.1f}), and training will hardly undo it; start again with {advice}"
    )

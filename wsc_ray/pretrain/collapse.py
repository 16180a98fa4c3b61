"""Whether the features of patches that the loss should tell apart have fallen together.

Then the contrastive half sits at its value for equal features, (t / t0) ln(2n - 1), its gradient is nil and training
does not come out again by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLE = 256  # patches looked at: bounds the cost to some milliseconds
MEAN_COSINE = 0.98
EFFECTIVE_RANK = 2.0


@torch.no_grad()
def feature_health(views: Tensor) -> dict[str, float]:
    """What tells collapse.

    Args:
        views: (n, 2, d) unit vectors of patches that the loss tells apart, two views each; n >= 2.

    Returns:
        mean_cosine: of views of different patches, 1 when all are the same.
        effective_rank: exp of the entropy of the singular values (Roy and Vetterli 2007), 1 when all are the same, at
            most d.
        alignment: mean squared distance of a patch's two views, 0 when equal (Wang and Isola 2020).
        uniformity: ln of the mean of exp(-2 |a - b|^2) over views of different patches, 0 when all are the same, lower
            when spread (Wang and Isola 2020).
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
    """Whether such features are one point, by mean cosine and effective rank together."""
    return health["mean_cosine"] > MEAN_COSINE and health["effective_rank"] < EFFECTIVE_RANK


def sentence(step: int, health: dict[str, float]) -> str:
    """What to tell the user, with what to do."""
    return (
        f"step {step:,}: the features have collapsed to one point (mean cosine {health['mean_cosine']:.3f}, effective "
        f"rank {health['effective_rank']:.1f}), and training will hardly undo it; start again with "
        "loss.similarity_warmup: progress, or where it is that already with a smaller loss.similarity_weight or train.lr"
    )

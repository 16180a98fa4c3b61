"""Dropout for instances: torch's, drawn faster on a CPU."""

from __future__ import annotations

import torch
from torch import nn


class Dropout(nn.Dropout):
    """torch's dropout (Srivastava et al. 2014): in training each number is zero with probability `p`, and the rest are divided by 1 - p.

    On a CPU torch draws the mask with `bernoulli_`, one number at a time. Uniform numbers are drawn faster, and the mask is made from these
    (`python -m benchmarks.mil` measures an epoch).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` of any shape, some of it zeroed in training."""
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return super().forward(x)
        kept = torch.rand(x.shape, dtype=torch.promote_types(x.dtype, torch.float32)).ge_(self.p).mul_(1 / (1 - self.p))
        return x * kept.to(x.dtype)

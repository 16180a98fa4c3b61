"""`transmil`: a transformer over a bag's instances and a class token (Shao et al. 2021, arXiv 2106.00908)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.nystrom import NystromAttention
from wsc_ray.mil.segments import bag_of_rows, segment_sum
from wsc_ray.mil.space import choice, searched, uniform

HEADS_OF_ATTENTION = 8  # the paper's


@HEADS.register("transmil")
@dataclass(frozen=True)
class TransMILSettings(Settings):
    """Settings of `TransMIL`; the recipe gives their ranges."""

    name: ClassVar[str] = "transmil"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)

    def build(self, features: int, classes: int) -> TransMIL:
        return TransMIL(features, classes, **self.of_module())


class TransMIL(PackedHead):
    """Instance embedding, self-attention, positions by convolution, self-attention again, and a classifier of the class token.

    As in the authors' code, instances are laid out in reading order on the smallest square that holds them, and the first
    instances are repeated to fill its remaining cells. Bags with squares of the same size are computed together, so that nothing
    else is padded.

    The returned attention is the class token's in the last layer, as the mean over heads. It is summed over an instance's cells,
    clipped at 0 (Nystrom's approximation can be negative), and divided by its sum over the bag.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: width of tokens (512 in the paper). The attention has 8 heads, or the greatest common divisor of 8 and the width,
            and `hidden` / 2 landmarks.
        dropout: after each attention (0.1 in the authors' code).
    """

    def __init__(self, features: int, classes: int, *, hidden: int, dropout: float = 0.0):
        super().__init__(features)
        heads, landmarks = math.gcd(hidden, HEADS_OF_ATTENTION), max(1, hidden // 2)
        self.embed = nn.Linear(features, hidden)
        self.token = nn.Parameter(torch.randn(hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.layers = nn.ModuleList(
            NystromAttention(hidden, heads=heads, landmarks=landmarks, dropout=dropout) for _ in range(2)
        )
        self.positions = nn.ModuleList(
            nn.Conv2d(hidden, hidden, size, padding=size // 2, groups=hidden) for size in (7, 5, 3)
        )
        self.norm = nn.LayerNorm(hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from the class token alone."""
        x = torch.relu(self.embed(self.standardised(features)))  # (n, W)
        bags, bag, sizes = len(offsets) - 1, bag_of_rows(offsets), offsets.diff()
        logits, attention = x.new_zeros(bags, self.classify.out_features), x.new_zeros(len(x))
        sides = sizes.double().sqrt().ceil().long()  # exact for any number of rows
        for side in sides.unique().tolist():
            chosen = (sides == side).nonzero().squeeze(1)  # (g,)
            cells = torch.arange(side * side, device=x.device) % sizes[chosen, None]  # (g, side * side)
            rows = (offsets[chosen, None] + cells).flatten()
            square = x.index_select(0, rows).view(len(chosen), side * side, x.shape[1])
            square_logits, weights = self.squares(square, side)
            logits = logits.index_copy(0, chosen, square_logits)
            attention = attention.index_add(0, rows, weights.clamp(min=0).flatten())
        whole = segment_sum(attention, bag, bags)[bag]
        even = 1 / sizes.to(x.dtype)[bag]
        positive = whole > 0
        return logits, torch.where(positive, attention / torch.where(positive, whole, 1), even)

    def squares(self, square: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify g bags whose squares have the same side.

        Args:
            square: (g, side * side, W), embedded instances.

        Returns:
            logits (g, C), and the class token's attention to each cell (g, side * side), of any sign and sum.
        """
        x = torch.cat([self.token.expand(len(square), 1, -1), square], dim=1)  # (g, 1 + side * side, W)
        x = x + self.layers[0](self.norms[0](x))[0]
        if side:  # PPEG, the pyramid position encoding generator
            grid = x[:, 1:].transpose(1, 2).unflatten(2, (side, side))  # (g, W, side, side)
            grid = grid + sum(conv(grid) for conv in self.positions)
            x = torch.cat([x[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        change, attention = self.layers[1](self.norms[1](x))
        return self.classify(self.norm((x + change)[:, 0])), attention[:, 1:]

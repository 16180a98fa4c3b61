"""Attention scores of instances, plain and gated (Ilse et al. 2018, arXiv 1802.04712), for all heads with attention."""

from __future__ import annotations

import torch
from torch import nn


def attention_scores(h: torch.Tensor, tanh: nn.Module, gate: nn.Module | None, score: nn.Module) -> torch.Tensor:
    """Return the scores (n, branches) of embedded instances `h` (n, L): of tanh (eq. 8), or with a gate of tanh times sigmoid (eq. 9)."""
    a = torch.tanh(tanh(h))  # (n, M)
    if gate is not None:
        a = a * torch.sigmoid(gate(h))
    return score(a)


class Attention(nn.Module):
    """The attention scores of one branch over embedded instances.

    Args:
        width: L, width of the embedding.
        attention: M, width of the attention.
        gated: whether the attention is gated, or plain.
    """

    def __init__(self, width: int, attention: int, *, gated: bool):
        super().__init__()
        self.tanh = nn.Linear(width, attention)
        self.gate = nn.Linear(width, attention) if gated else None
        self.score = nn.Linear(attention, 1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return the scores (n,) of embedded instances `h` (n, L)."""
        return attention_scores(h, self.tanh, self.gate, self.score).squeeze(-1)

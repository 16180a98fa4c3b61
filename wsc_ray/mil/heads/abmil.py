"""`abmil`: attention-based MIL (Ilse et al. 2018, arXiv 1802.04712), plain and gated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.attention import attention_scores
from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_softmax, segment_sum
from wsc_ray.mil.space import choice, searched, uniform


@HEADS.register("abmil")
@dataclass(frozen=True)
class AttentionSettings(Settings):
    """Settings of `AttentionMIL`; the recipe gives their ranges."""

    name: ClassVar[str] = "abmil"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)
    attention: int = searched(choice)
    gated: bool = searched(choice)

    def build(self, features: int, classes: int) -> AttentionMIL:
        return AttentionMIL(features, classes, **self.of_module())


class AttentionMIL(PackedHead):
    """Instance embedding, attention over a bag's instances, a linear classifier of the weighted mean.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: width of the instance embedding (L in the paper).
        attention: width of the attention (M in the paper).
        gated: whether the attention is gated (tanh times sigmoid, eq. 9), or plain (tanh, eq. 8).
        dropout: on the instance embedding and before the classifier.
        branches: number of attentions over the same embedding; one in the paper.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        hidden: int,
        attention: int,
        gated: bool,
        dropout: float = 0.0,
        branches: int = 1,
    ):
        super().__init__(features)
        self.embed = nn.Linear(features, hidden)
        self.tanh = nn.Linear(hidden, attention)
        self.gate = nn.Linear(hidden, attention) if gated else None
        self.score = nn.Linear(attention, branches)
        self.dropout = Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def embedded(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the instance embedding (n, L) and the attention scores before the softmax (n, branches)."""
        h = self.dropout(torch.relu(self.embed(self.standardised(features))))
        return h, attention_scores(h, self.tanh, self.gate, self.score)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from an embedding of zeros."""
        return self.pooled(*self.embedded(features), offsets)

    def pooled(self, h: torch.Tensor, scores: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and attention from the embedding and scores of `embedded`."""
        bags, bag = len(offsets) - 1, bag_of_rows(offsets)
        weights = segment_softmax(scores.squeeze(-1), bag, bags)  # (n,)
        z = segment_sum(weights[:, None] * h, bag, bags)  # (b, L)
        return self.classify(self.dropout(z)), weights

"""`dsmil`: dual-stream MIL (Li et al. 2021, arXiv 2011.08939): the critical instance, and all instances weighted by their similarity to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import (
    bag_of_rows,
    of_predicted,
    rows_or_zeros,
    segment_argmax,
    segment_softmax,
    segment_sum,
)
from wsc_ray.mil.space import choice, searched, uniform


@HEADS.register("dsmil")
@dataclass(frozen=True)
class DSMILSettings(Settings):
    """Settings of `DSMIL`; the recipe gives their ranges."""

    name: ClassVar[str] = "dsmil"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)
    attention: int = searched(choice)

    def build(self, features: int, classes: int) -> DSMIL:
        return DSMIL(features, classes, **self.of_module())


class DSMIL(PackedHead):
    """Two streams: the highest instance logit of each class, and the mean of instances weighted by similarity to that instance.

    The second stream has an attention and a weighted mean for each class; each logit is a linear function of all means, as in
    the authors' code. The returned attention is that of the class with the highest logit.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: L, width of an instance's information vector (v in the paper).
        attention: M, width of an instance's query (q in the paper).
        dropout: on the features from which v is made.
    """

    def __init__(self, features: int, classes: int, *, hidden: int, attention: int, dropout: float = 0.0):
        super().__init__(features)
        self.instance = nn.Linear(features, classes)
        self.query = nn.Sequential(
            nn.Linear(features, attention), nn.ReLU(), nn.Linear(attention, attention), nn.Tanh()
        )
        self.value = nn.Sequential(Dropout(dropout), nn.Linear(features, hidden), nn.ReLU())
        self.classify = nn.Linear(classes * hidden, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; logits are the mean of both streams'. The first stream of a bag without rows is zeros."""
        critical, pooled, weights = self.streams(features, offsets)
        logits = 0.5 * (critical + pooled)
        return logits, of_predicted(weights, logits, bag_of_rows(offsets))

    def training_losses(self, features: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean of both streams' cross-entropy, (b,)."""
        critical, pooled, _ = self.streams(features, offsets)
        losses = [nn.functional.cross_entropy(logits, labels, reduction="none") for logits in (critical, pooled)]
        return 0.5 * (losses[0] + losses[1])

    def streams(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the logits (b, C) of the critical instances, those of the weighted means, and the weights (n, C)."""
        bags, bag = len(offsets) - 1, bag_of_rows(offsets)
        x = self.standardised(features)
        scores, query, value = self.instance(x), self.query(x), self.value(x)  # (n, C), (n, M), (n, L)
        rows = segment_argmax(scores, bag, bags)  # (b, C)
        critical = torch.cat([scores, scores.new_zeros(1, scores.shape[1])]).gather(0, rows)  # (b, C)
        to = rows_or_zeros(query, rows)  # (b, C, M)
        # One class at a time: a tensor (n, C, M) would be the largest of a fit.
        likeness = torch.stack([(query * to[:, c][bag]).sum(1) for c in range(to.shape[1])], dim=1)  # (n, C)
        weights = segment_softmax(likeness / query.shape[1] ** 0.5, bag, bags)
        means = [segment_sum(column[:, None] * value, bag, bags) for column in weights.unbind(1)]
        return critical, self.classify(torch.cat(means, dim=1)), weights

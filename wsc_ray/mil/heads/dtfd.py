"""`dtfd`: double-tier feature distillation (Zhang et al. 2022, arXiv 2203.12081): first parts of a bag, then features from each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.attention import Attention
from wsc_ray.mil.dropout import Dropout
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_argmax, segment_rank, segment_softmax, segment_sum
from wsc_ray.mil.space import choice, searched, uniform

PSEUDO_BAGS = [3, 5, 8]
DISTILLATIONS = ["maxmins", "maxs", "mas", "afs"]


@HEADS.register("dtfd")
@dataclass(frozen=True)
class DTFDSettings(Settings):
    """Settings of `DTFD`.

    The recipe gives the ranges of the attention's settings, this file those of `pseudo_bags` and `distill`.
    """

    name: ClassVar[str] = "dtfd"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)
    attention: int = searched(choice)
    gated: bool = searched(choice)
    pseudo_bags: int = searched(choice, PSEUDO_BAGS)
    distill: str = searched(choice, DISTILLATIONS)

    def build(self, features: int, classes: int) -> DTFD:
        return DTFD(features, classes, **self.of_module())


@dataclass(frozen=True)
class Tiers:
    """The outputs of both tiers for b bags in P pseudo-bags, some of which may have no rows."""

    logits: torch.Tensor  # (b, C), logits of the second tier
    attention: torch.Tensor  # (n,)
    first_logits: torch.Tensor  # (P, C)
    filled: torch.Tensor  # (P,) bool, whether the pseudo-bag has rows


class DTFD(PackedHead):
    """Attention-MIL on random parts of a bag, each labelled as the bag, and again on the features that the parts distil.

    During training, parts are drawn anew in each step, with torch's random numbers. Otherwise the m-th instance is in part m modulo
    the number of parts, so that a bag always has the same logits.

    Each tier has its own loss and, as in the authors' code, no gradient of the second tier flows into the first. The returned
    attention is that of the first tier times the second tier's attention to the part's features.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: L, width of the instance embedding.
        attention: width of both attentions.
        gated: whether both attentions are gated, or plain.
        dropout: on the instance embedding and before both classifiers.
        pseudo_bags: M in the paper, the number of parts of a bag; a bag with fewer instances has as many parts as instances.
        distill: what a part gives to the second tier. `maxs`: the instance of highest probability; `maxmins`: those of highest and
            of lowest probability; `mas`: the instance of highest attention; `afs`: the mean of all, weighted by attention.

    Raises:
        ValueError: the distillation is unknown.
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
        pseudo_bags: int,
        distill: str,
    ):
        super().__init__(features)
        if distill not in DISTILLATIONS:
            raise ValueError(f"there is no distillation {distill}; there are {', '.join(DISTILLATIONS)}")
        self.pseudo_bags, self.distill = pseudo_bags, distill
        self.embed = nn.Linear(features, hidden)
        self.dropout = Dropout(dropout)
        self.first, self.classify_first = Attention(hidden, attention, gated=gated), nn.Linear(hidden, classes)
        self.second, self.classify = Attention(hidden, attention, gated=gated), nn.Linear(hidden, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from an embedding of zeros."""
        tiers = self.tiers(features, offsets)
        return tiers.logits, tiers.attention

    def training_losses(self, features: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each bag plus the mean cross-entropy of its pseudo-bags, (b,)."""
        tiers = self.tiers(features, offsets)
        second = nn.functional.cross_entropy(tiers.logits, labels, reduction="none")
        theirs = labels.repeat_interleave(self.pseudo_bags)  # (P,)
        first = nn.functional.cross_entropy(tiers.first_logits, theirs, reduction="none") * tiers.filled
        parts = tiers.filled.view(-1, self.pseudo_bags).sum(1).clamp(min=1)
        return second + first.view(-1, self.pseudo_bags).sum(1) / parts

    def tiers(self, features: torch.Tensor, offsets: torch.Tensor) -> Tiers:
        """Return the outputs of both tiers, from the arguments of `forward`; pseudo-bags are in the order of their bags."""
        bags, bag = len(offsets) - 1, bag_of_rows(offsets)
        part, parts = bag * self.pseudo_bags + self.part_in_bag(offsets, bag), bags * self.pseudo_bags
        sizes = torch.bincount(part, minlength=parts)

        h = self.dropout(torch.relu(self.embed(self.standardised(features))))  # (n, L)
        weights = segment_softmax(self.first(h), part, parts)  # (n,)
        means = segment_sum(weights[:, None] * h, part, parts)  # (P, L)
        first_logits = self.classify_first(self.dropout(means))

        if self.distill == "afs":
            source = sizes.nonzero().squeeze(1)  # (m,), the pseudo-bag of each distilled feature
            distilled = means.detach()[source]  # (m, L)
        else:
            rows = self.distilled_rows(h.detach(), weights.detach() * sizes[part], part, parts)
            source, distilled = part[rows], h.detach()[rows]
        owner = source // self.pseudo_bags
        given = segment_softmax(self.second(distilled), owner, bags)  # (m,)
        mean = segment_sum(given[:, None] * distilled, owner, bags)  # (b, L)
        attention = weights * segment_sum(given, source, parts)[part]
        return Tiers(self.classify(self.dropout(mean)), attention, first_logits, sizes > 0)

    def part_in_bag(self, offsets: torch.Tensor, bag: torch.Tensor) -> torch.Tensor:
        """Return the pseudo-bag of each row within its bag, (n,); the sizes of a bag's pseudo-bags differ by at most one."""
        if self.training:
            place = segment_rank(torch.rand(len(bag), device=bag.device), bag, len(offsets) - 1)
        else:
            place = torch.arange(len(bag), device=bag.device) - offsets[:-1][bag]
        return place % self.pseudo_bags

    def distilled_rows(self, h: torch.Tensor, weights: torch.Tensor, part: torch.Tensor, parts: int) -> torch.Tensor:
        """Return the rows whose features the pseudo-bags give to the second tier, (m,).

        Args:
            h: (n, L), embedded instances.
            weights: (n,), attention times the number of instances of the pseudo-bag, so that an even share is 1.
        """
        if self.distill == "mas":
            scores = weights[:, None]
        else:
            # The class activation of each instance: what it adds to the logits of its pseudo-bag. For two classes this orders
            # instances as the authors' code does, by the probability of the positive class; for more classes, by the probability
            # of not being in the first class, which is a pure one.
            activation = weights[:, None] * (h @ self.classify_first.weight.detach().T)  # (n, C)
            # Log odds, which do not saturate as probabilities do.
            positive = activation[:, 1:].logsumexp(1) - activation[:, 0]
            scores = torch.stack([positive, -positive] if self.distill == "maxmins" else [positive], dim=1)
        rows = segment_argmax(scores, part, parts).flatten()
        return rows[rows < len(h)]

"""`dtfd`: double-tier feature distillation (Zhang et al. 2022, arXiv 2203.12081): parts of a bag first, then what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from wsc_ray.mil.attention import Attention
from wsc_ray.mil.head import HEADS, PackedHead, Settings
from wsc_ray.mil.segments import bag_of_rows, segment_argmax, segment_rank, segment_softmax, segment_sum
from wsc_ray.mil.space import choice, searched, uniform

PSEUDO_BAGS = [3, 5, 8]
DISTILLATIONS = ["maxmins", "maxs", "mas", "afs"]


@HEADS.register("dtfd")
@dataclass(frozen=True)
class DTFDSettings(Settings):
    """Settings of `DTFD`; those of attention have the recipe's ranges, `pseudo_bags` and `distill` this file's."""

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
    """What the two tiers say of b bags in P pseudo-bags, some of which may have no rows."""

    logits: torch.Tensor  # (b, C), of the second tier
    attention: torch.Tensor  # (n,)
    first_logits: torch.Tensor  # (P, C)
    filled: torch.Tensor  # (P,) bool, has rows


class DTFD(PackedHead):
    """Attention-MIL on random parts of a bag, each labelled as the bag, and again on the features that these distil.

    While it trains, parts are drawn anew each time, from torch's random numbers. Otherwise the m-th instance is of part m
    modulo their number, so that the same bag has the same logits.

    Each tier has its own loss and, as in the authors' code, no gradient of the second's goes into the first. The attention
    that it returns is the first tier's, times what the second gives to the part's features.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: L, width of the instance embedding.
        attention: width of both attentions.
        gated: gated attention or plain.
        dropout: on the instance embedding and before both classifiers.
        pseudo_bags: M in the paper, parts of a bag; a bag of fewer instances has as many as those.
        distill: what a part gives to the second tier. `maxs`: the instance whose own probability is highest;
            `maxmins`: that and the lowest; `mas`: that of the highest attention; `afs`: the weighted mean of all.

    Raises:
        ValueError: a distillation that there is not.
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
        self.dropout = nn.Dropout(dropout)
        self.first, self.classify_first = Attention(hidden, attention, gated=gated), nn.Linear(hidden, classes)
        self.second, self.classify = Attention(hidden, attention, gated=gated), nn.Linear(hidden, classes)

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PackedHead`; a bag without rows is classified from an embedding of zeros."""
        tiers = self.tiers(features, offsets)
        return tiers.logits, tiers.attention

    def training_losses(self, features: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the bag, and the mean over its pseudo-bags of theirs, (b,)."""
        tiers = self.tiers(features, offsets)
        second = nn.functional.cross_entropy(tiers.logits, labels, reduction="none")
        theirs = labels.repeat_interleave(self.pseudo_bags)  # (P,)
        first = nn.functional.cross_entropy(tiers.first_logits, theirs, reduction="none") * tiers.filled
        parts = tiers.filled.view(-1, self.pseudo_bags).sum(1).clamp(min=1)
        return second + first.view(-1, self.pseudo_bags).sum(1) / parts

    def tiers(self, features: torch.Tensor, offsets: torch.Tensor) -> Tiers:
        """Both tiers, from the arguments of `forward`; pseudo-bags lie in the order of their bags."""
        bags, bag = len(offsets) - 1, bag_of_rows(offsets)
        part, parts = bag * self.pseudo_bags + self.part_in_bag(offsets, bag), bags * self.pseudo_bags
        sizes = torch.bincount(part, minlength=parts)

        h = self.dropout(torch.relu(self.embed(self.standardised(features))))  # (n, L)
        weights = segment_softmax(self.first(h), part, parts)  # (n,)
        means = segment_sum(weights[:, None] * h, part, parts)  # (P, L)
        first_logits = self.classify_first(self.dropout(means))

        if self.distill == "afs":
            source = sizes.nonzero().squeeze(1)  # (m,), the pseudo-bag that a distilled feature is of
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
        """Which of its bag's pseudo-bags each row is of, (n,); their sizes differ by one at most."""
        if self.training:
            place = segment_rank(torch.rand(len(bag), device=bag.device), bag, len(offsets) - 1)
        else:
            place = torch.arange(len(bag), device=bag.device) - offsets[:-1][bag]
        return place % self.pseudo_bags

    def distilled_rows(self, h: torch.Tensor, weights: torch.Tensor, part: torch.Tensor, parts: int) -> torch.Tensor:
        """The rows whose features the pseudo-bags give to the second tier, (m,).

        Args:
            h: (n, L), embedded instances.
            weights: (n,), attention times the number of instances of the pseudo-bag, so that an even share is 1.
        """
        if self.distill == "mas":
            scores = weights[:, None]
        else:
            # The class activation of each instance: what it adds to the logits of its pseudo-bag. Of two classes the authors'
            # code takes the probability of the positive; of more, this is that of not being the first, which is a pure one.
            activation = weights[:, None] * (h @ self.classify_first.weight.detach().T)  # (n, C)
            positive = activation[:, 1:].logsumexp(1) - activation[:, 0]  # its log odds, which never saturate
            scores = torch.stack([positive, -positive] if self.distill == "maxmins" else [positive], dim=1)
        rows = segment_argmax(scores, part, parts).flatten()
        return rows[rows < len(h)]

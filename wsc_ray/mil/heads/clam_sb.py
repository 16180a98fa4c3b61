"""`clam-sb`: CLAM with a single attention branch (Lu et al. 2021, arXiv 2004.09666): `abmil`, and a loss on instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from wsc_ray.mil.head import HEADS, Settings
from wsc_ray.mil.heads.abmil import AttentionMIL
from wsc_ray.mil.segments import bag_of_rows, segment_rank, segment_sum
from wsc_ray.mil.space import choice, searched, uniform

INSTANCES = [4, 8, 16]  # the paper's is 8
BAG_WEIGHT = (0.5, 0.9)  # the authors' code has 0.7
EXCLUSIVE = [False, True]


@HEADS.register("clam-sb")
@dataclass(frozen=True)
class ClamSettings(Settings):
    """Settings of `ClamSB` and `ClamMB`.

    The recipe gives the ranges of the attention's settings, this file those of the others.
    """

    name: ClassVar[str] = "clam-sb"

    dropout: float = searched(uniform)
    hidden: int = searched(choice)
    attention: int = searched(choice)
    gated: bool = searched(choice)
    instances: int = searched(choice, INSTANCES)
    bag_weight: float = searched(uniform, BAG_WEIGHT)
    exclusive: bool = searched(choice, EXCLUSIVE)

    def build(self, features: int, classes: int) -> ClamSB:
        return ClamSB(features, classes, **self.of_module())


class ClamSB(AttentionMIL):
    """`AttentionMIL` whose embedding must also separate the instances of highest attention from those of lowest.

    Each class has a classifier of instances: in the class, or not. In a bag of class y, the `instances` of highest attention are
    labelled as in y, and as many of lowest attention as not in y. If classes exclude each other, those of highest attention are
    also labelled as not in every other class. A bag with fewer instances uses all of them on both sides.

    Args:
        features, classes, hidden, attention, gated, dropout: as in `AttentionMIL`.
        instances: B in the paper, the number of instances from each end of a bag.
        bag_weight: weight of the bag's cross-entropy (c1 in the paper); the instances' loss has the weight 1 - bag_weight (c2).
        exclusive: whether no slide holds instances of two classes. Subtypes exclude each other; normal tissue and tumour do not.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        instances: int,
        bag_weight: float,
        exclusive: bool,
        **attention: Any,
    ):
        super().__init__(features, classes, **attention)
        self.instances, self.bag_weight, self.exclusive = instances, bag_weight, exclusive
        self.cluster = nn.Linear(self.classify.in_features, 2 * classes)  # two logits per class: not in it, in it

    def training_losses(self, features: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of each bag's cross-entropy and the loss of its instances, (b,)."""
        h, scores = self.embedded(features)
        logits, _ = self.pooled(h, scores, offsets)
        bag_losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        instance_losses = self.instance_losses(h, scores, offsets, labels)
        return self.bag_weight * bag_losses + (1 - self.bag_weight) * instance_losses

    def instance_losses(
        self, h: torch.Tensor, scores: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of each bag's instances, (b,): the sum over classes, or with exclusive classes their mean.

        Args:
            h: (n, L), embedded instances.
            scores: (n, 1), or (n, C) if each class has its attention.
        """
        bags, bag, sizes = len(offsets) - 1, bag_of_rows(offsets), offsets.diff()
        taken = sizes.clamp(max=self.instances)  # (b,)
        classes = self.classify.out_features
        ranks = [segment_rank(column, bag, bags) for column in scores.unbind(1)]
        losses = h.new_zeros(bags)
        for one in range(classes):
            rank, own = ranks[one % len(ranks)], (labels == one)[bag]  # (n,)
            first, last = rank < taken[bag], rank >= (sizes - taken)[bag]
            cases = [(own & first, 1, 2), (own & last, -1, 2)]
            if self.exclusive:
                cases.append((~own & first, -1, 1))
            for chosen, sign, parts in cases:
                rows = chosen.nonzero().squeeze(1)
                out, inside = self.cluster(h[rows])[:, 2 * one : 2 * one + 2].unbind(1)
                share = (parts * taken[bag[rows]]).to(h.dtype)
                losses = losses + segment_sum(smooth_svm(sign * (inside - out)) / share, bag[rows], bags)
        return losses / classes if self.exclusive else losses


def smooth_svm(margin: torch.Tensor) -> torch.Tensor:
    """Return the smooth top-1 SVM loss of two classes; `margin` is the score of the true class minus that of the other.

    Berrada et al. 2018, arXiv 1802.07595, with a margin of 1 and a temperature of 1, as in CLAM.
    """
    return nn.functional.softplus(1 - margin)

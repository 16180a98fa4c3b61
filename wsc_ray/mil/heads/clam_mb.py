"""`clam-mb`: CLAM with an attention branch for each class (Lu et al. 2021, arXiv 2004.09666)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from wsc_ray.mil.head import HEADS
from wsc_ray.mil.heads.clam_sb import ClamSB, ClamSettings
from wsc_ray.mil.segments import bag_of_rows, of_predicted, segment_softmax, segment_sum


@HEADS.register("clam-mb")
@dataclass(frozen=True)
class ClamMBSettings(ClamSettings):
    """Settings of `ClamMB`, drawn like those of `ClamSB`."""

    name: ClassVar[str] = "clam-mb"

    def build(self, features: int, classes: int) -> ClamMB:
        return ClamMB(features, classes, **self.of_module())


class ClamMB(ClamSB):
    """`ClamSB` with one attention per class; a class's logit is a linear function of the mean weighted by its attention.

    The returned attention is that of the class with the highest logit.

    Args:
        features, classes, options: as in `ClamSB`.
    """

    def __init__(self, features: int, classes: int, **options: Any):
        super().__init__(features, classes, branches=classes, **options)

    def pooled(self, h: torch.Tensor, scores: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bags, bag = len(offsets) - 1, bag_of_rows(offsets)
        weights = segment_softmax(scores, bag, bags)  # (n, C)
        # One class at a time: a tensor (n, C, L) would be the largest of a fit.
        means = torch.stack([segment_sum(column[:, None] * h, bag, bags) for column in weights.unbind(1)], dim=1)
        logits = (self.dropout(means) * self.classify.weight).sum(2) + self.classify.bias  # (b, C, L) to (b, C)
        return logits, of_predicted(weights, logits, bag)

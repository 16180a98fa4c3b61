"""WeakSupCon: similarity for patches of pure slides, contrast for patches of mixed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wsc_ray.distributed import Group, share_counts
from wsc_ray.losses.inputs import require_labels, require_positive, require_tile
from wsc_ray.losses.ntxent import ntxent_of_views
from wsc_ray.losses.similarity import similarity_of_classes


class WeakSupConTerms(NamedTuple):
    """The loss and its two halves, scalars over the global batch, the same on every worker."""

    total: Tensor
    similarity: Tensor
    contrastive: Tensor


class WeakSupConLoss(nn.Module):
    """Weakly supervised contrastive loss (arXiv 2503.04165 and 2602.09477), which needs slide labels only.

        total = w * similarity(views under pure labels) + ntxent(views under all other labels)

    A label is *pure* when every patch of its slides truly has it, as on negative slides: such patches may be pulled
    together. All other slides are mixed, and their patches can only be contrasted with each other, whatever their label.
    With several pure labels the similarity is computed within each and averaged by number of views. The formulas are in
    `similarity_loss` and `ntxent_loss`.

    Workers send 1 + P counts for P pure labels, P (d + 1) numbers for the similarity, the features of mixed patches once
    in their own dtype, and one log-sum-exp for each of their views; backward sends nothing.

    Args:
        pure: the pure slide labels.
        similarity_weight: w, from 0; the paper's is 1.
        temperature: t of the contrastive half.
        base_temperature: t0 of both halves.
        tile: edge of the largest matrix in memory, in views; None chooses a good one for the device.
        group: the workers that share the batch; None means the default group, or this process alone if there is none.

    Raises:
        ValueError: a pure label is repeated or not a whole number, a weight is negative, a temperature is not above 0,
            or the tile is below 1.
    """

    def __init__(
        self,
        *,
        pure: Sequence[int] = (0,),
        similarity_weight: float = 1.0,
        temperature: float = 0.1,
        base_temperature: float = 0.07,
        tile: int | None = None,
        group: Group = None,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, base_temperature=base_temperature)
        require_tile(tile)
        if len(set(pure)) != len(pure) or any(int(label) != label for label in pure):
            raise ValueError(f"pure must be different whole numbers, not {list(pure)}")
        if not similarity_weight >= 0:
            raise ValueError(f"similarity_weight must be 0 or more, not {similarity_weight}")
        self.pure = tuple(int(label) for label in pure)
        self.similarity_weight = similarity_weight
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.tile = tile
        self.group = group

    def forward(
        self, views: Tensor, labels: Tensor, similarity_weight: Tensor | float | None = None
    ) -> WeakSupConTerms:
        """Return the terms of the loss for this worker's views (n, 2, d), L2-normalised, under slide labels (n,).

        Every worker of the group must call this, also one with n = 0; a half without patches on all workers is 0. With W
        workers each term's gradient is W times that of one process with the whole batch, since DDP averages.
        `similarity_weight`, the same on every worker, replaces w for this call, so that a training loop can raise it
        slowly. `labels` may stay on the host when views are on an accelerator: a single process then does not wait for
        the accelerator.

        Raises:
            ValueError: shapes or dtypes are wrong.
        """
        if views.ndim != 3 or views.shape[1] != 2 or not views.is_floating_point():
            raise ValueError(f"views must be floating point of shape (n, 2, d), not {views.dtype} {tuple(views.shape)}")
        require_labels(labels, len(views))
        match = labels.unsqueeze(1) == torch.tensor(self.pure, dtype=torch.int64, device=labels.device)  # (n, P)
        is_pure = match.any(1)
        counts = torch.cat(((~is_pure).sum().unsqueeze(0), match.sum(0)))
        mixed, *pure = share_counts(counts, self.group, device=views.device)

        contrastive = ntxent_of_views(views[~is_pure], mixed, self.temperature, self.base_temperature, self.tile)
        similarity = self._similarity(views[is_pure], match[is_pure], [2 * shards.total for shards in pure])
        weight = self.similarity_weight if similarity_weight is None else similarity_weight
        if isinstance(weight, Tensor):
            weight = weight.to(similarity)
        return WeakSupConTerms(weight * similarity + contrastive, similarity, contrastive)

    def _similarity(self, views: Tensor, match: Tensor, counts: list[int]) -> Tensor:
        z = views.flatten(0, 1)
        if len(counts) == 0:
            return 0 * z.float().sum()
        index = None if len(counts) == 1 else match.int().argmax(1).repeat_interleave(2).to(z.device)
        return similarity_of_classes(z, index, torch.tensor(counts, device=z.device), self.base_temperature, self.group)

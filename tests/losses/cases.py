"""One call for each loss and its oracle on views (n, 2, d) and labels (n,), and what a worker does with its shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsc_ray.losses import WeakSupConLoss, ntxent_loss, similarity_loss, supcon_loss

from . import oracle

LOSSES: dict[str, Callable[..., Tensor]] = {
    "similarity": lambda v, y, **_: similarity_loss(v),
    "similarity of labels": lambda v, y, **_: similarity_loss(v, labels=y),
    "ntxent": lambda v, y, **settings: ntxent_loss(v[:, 0], v[:, 1], **settings),
    "supcon": lambda v, y, **settings: supcon_loss(v, y, **settings),
    "weaksupcon": lambda v, y, **settings: WeakSupConLoss(**settings)(v, y).total,
    "weaksupcon of several": lambda v, y, **settings: WeakSupConLoss(pure=(2, 0), **settings)(v, y, 0.3).total,
}

ORACLES: dict[str, Callable[..., Tensor]] = {
    "similarity": lambda v, y, t: oracle.similarity(v.flatten(0, 1)),
    "similarity of labels": lambda v, y, t: oracle.similarity_of_labels(v.flatten(0, 1), y.repeat_interleave(2)),
    "ntxent": lambda v, y, t: oracle.ntxent(v[:, 0], v[:, 1], t),
    "supcon": lambda v, y, t: oracle.supcon(v.flatten(0, 1), y.repeat_interleave(2), t),
    "weaksupcon": lambda v, y, t: oracle.weaksupcon(v, y, t=t),
    "weaksupcon of several": lambda v, y, t: oracle.weaksupcon(v, y, pure=(2, 0), w=0.3, t=t),
}


def unit_views(n: int, d: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random views (n, 2, d) of length 1."""
    generator = torch.Generator().manual_seed(seed)
    views = torch.randn(n, 2, d, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(views, dim=-1).to(dtype)


def value_and_gradient(
    function: Callable[..., Tensor], views: Tensor, *args: Any, **settings: Any
) -> tuple[Tensor, Tensor]:
    """A scalar function's value and its gradient with respect to `views`."""
    views = views.detach().clone().requires_grad_()
    value = function(views, *args, **settings)
    value.backward()
    return value.detach(), views.grad


def expected(name: str, views: Tensor, labels: Tensor, temperature: float = 0.1) -> tuple[Tensor, Tensor]:
    return value_and_gradient(ORACLES[name], views.double(), labels, temperature)


def on_my_shards(
    rank: int, name: str, views: np.ndarray, labels: np.ndarray, cases: list[tuple[list[int], dict[str, Any]]]
) -> list[tuple[float, np.ndarray]]:
    """The loss as worker `rank` sees it and the gradient of its own rows, for each (shard sizes, settings)."""
    results = []
    for sizes, settings in cases:
        mine = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        value, grad = value_and_gradient(
            LOSSES[name], torch.from_numpy(views[mine]), torch.from_numpy(labels[mine]), **settings
        )
        results.append((value.item(), grad.numpy()))
    return results

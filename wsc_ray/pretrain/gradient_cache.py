"""Exact contrastive gradients, in micro-batches, for a batch that does not fit into memory.

A contrastive loss needs the features of all views at once, but not their graphs. GradCache (Gao et al. 2021,
arXiv 2101.06983) encodes all micro-batches without graphs, computes the loss and its gradient with respect to the
features once, then encodes each micro-batch again, with the same random state, and backpropagates that gradient. The
price is a second forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wsc_ray.encoders.norm import unchanged_statistics

Terms = TypeVar("Terms")


def cached_backward(
    model: nn.Module,
    encode: Callable[[Tensor], Tensor],
    pixels: Tensor,
    parts: int,
    loss: Callable[[Tensor], tuple[Tensor, Terms]],
) -> Terms:
    """Add the gradient of the loss over all of `pixels` to the parameters, with the graph of one micro-batch at a time.

    Workers synchronise parameter gradients once, at the last micro-batch. BatchNorm takes its statistics within a
    micro-batch; apart from that, results equal those of a single pass.

    Args:
        model: the model that `encode` calls, in DDP where there are several workers.
        encode: pixels (m, ...) -> features (m, ...).
        pixels: pixels of this worker's patches, (n, ...).
        parts: number of micro-batches, which have nearly the same size; at most n, and the same on every worker, since a
            layer may communicate in each of them.
        loss: features (n, ...), without a graph -> their gradient (n, ...), and a value to return.
    """
    micro_batches = pixels.tensor_split(parts)
    states, features = [], []
    with torch.no_grad(), unchanged_statistics(model):
        for part in micro_batches:
            states.append(_random_state(pixels.device))
            features.append(encode(part))
    gradient, terms = loss(torch.cat(features))
    for part, state, grad in zip(micro_batches, states, gradient.tensor_split(parts), strict=True):
        last = part is micro_batches[-1]
        with _random_state_of(state, pixels.device), nullcontext() if last else _unsynchronised(model):
            encode(part).backward(grad)
    return terms


def _unsynchronised(model: nn.Module) -> AbstractContextManager[None]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _random_state_of(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Set the random generators to `state` inside the block, and back to their present states after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield

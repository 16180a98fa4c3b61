"""Exact contrastive gradients for a batch that does not fit into memory, in micro-batches.

A contrastive loss needs every view's features at once, but not every view's graph. GradCache (Gao et al. 2021,
arXiv 2101.06983) encodes all micro-batches without graphs, takes the loss and its gradient with respect to the
features once, then encodes each micro-batch again, with the random state it had, and backpropagates that gradient.
The price is a second forward pass.
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
    """Leave the gradient of the loss over all of `pixels` in the parameters, with graphs of one micro-batch at a time.

    Workers synchronise parameter gradients once, at the last micro-batch. BatchNorm takes its statistics within a
    micro-batch; everything else gives what one pass would.

    Args:
        model: what `encode` runs, in DDP where there are several workers.
        encode: pixels (m, ...) -> features (m, ...).
        pixels: of this worker's patches, (n, ...).
        parts: micro-batches, of nearly the same size; no more than n, and as many on every worker, since a layer may
            exchange something in each of them.
        loss: features (n, ...), without a graph -> their gradient (n, ...), and anything to return.
    """
    micro_batches = pixels.tensor_split(parts)
    states, found = [], []
    with torch.no_grad(), unchanged_statistics(model):
        for part in micro_batches:
            states.append(_random_state(pixels.device))
            found.append(encode(part))
    gradient, terms = loss(torch.cat(found))
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
    """Inside, the generators stand where they stood; afterwards where they were, after the first pass of all parts."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield

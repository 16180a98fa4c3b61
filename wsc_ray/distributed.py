"""The collectives of the losses and of BatchNorm over all workers; the only module that communicates between workers.

Both differentiable collectives rest on one contract: **every worker computes the same scalar from the result and
calls backward on it with the same weight.** Each worker then holds the whole gradient of the result. The gradient of its
own input is a slice or a copy of that, and backward needs no communication. It is multiplied by the number of workers W,
because DistributedDataParallel divides the sum of the workers' parameter gradients by W.

Without an initialised process group, or in a group of one, nothing here communicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup | None
Sending = Callable[[int], AbstractContextManager[None]]
_sending: ContextVar[Sending] = ContextVar("sending", default=lambda sent: nullcontext())


@contextmanager
def metered(sending: Sending) -> Iterator[None]:
    """Run every collective of the block inside the context `sending(number of bytes that this worker sends)`."""
    token = _sending.set(sending)
    try:
        yield
    finally:
        _sending.reset(token)


def sending_now() -> Sending:
    """Return the argument of the innermost `metered`.

    A backward pass must enter `metered` with it again: on a GPU, autograd runs that pass in a thread of its own, which
    does not see the context of this one.
    """
    return _sending.get()


@dataclass(frozen=True)
class Shards:
    """The numbers of rows of all workers, in rank order, and which of the global rows this worker holds."""

    sizes: tuple[int, ...]
    rank: int = 0
    group: Group = None

    @property
    def total(self) -> int:
        return sum(self.sizes)

    @property
    def mine(self) -> slice:
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])

    def times(self, views: int) -> Shards:
        """Return the same shards counted in views, where each row holds `views` of them."""
        return Shards(tuple(size * views for size in self.sizes), self.rank, self.group)


def join_group(rank: int, world_size: int, *, backend: str, url: str, timeout: timedelta) -> None:
    """Make this process a member of the default group, whose members meet at `url`; see torch's `init_process_group`."""
    dist.init_process_group(backend, init_method=url, rank=rank, world_size=world_size, timeout=timeout)


def leave_group() -> None:
    """Leave this process's default group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank_and_world_size(group: Group = None) -> tuple[int, int]:
    """Return this worker's rank and the number of workers W; (0, 1) without a process group.

    Raises:
        ValueError: this worker is not in `group`.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    rank = dist.get_rank(group)
    if rank < 0:
        raise ValueError("this worker is not a member of the group it was asked to compute the loss in")
    return rank, dist.get_world_size(group)


def share_counts(counts: Tensor, group: Group = None, *, device: torch.device | None = None) -> list[Shards]:
    """Exchange the `counts` (k,), integers, of all workers and return them as k `Shards`.

    This waits for the device once, since sizes must be known on the host, except where a single worker has its counts on
    the host.

    Args:
        device: the device that sends the counts; by default the one that holds them.
    """
    rank, workers = rank_and_world_size(group)
    table = counts.to(torch.int64).unsqueeze(0)  # (W, k)
    if workers > 1:
        table = _all_gather(table.to(device or table.device), workers, group)
    return [Shards(tuple(sizes), rank, group) for sizes in table.T.tolist()]


def all_gather_rows(x: Tensor, shards: Shards) -> Tensor:
    """Return the rows of all workers, (total, ...), in rank order; differentiable in `x` (size, ...).

    Rows are sent once, in the dtype of `x`. Shards of different sizes are sent with padding to the longest, as neither
    NCCL nor gloo gathers uneven shards in one call; the padding is then cut off.
    """
    if len(shards.sizes) == 1 or shards.total == 0:
        return x
    return _GatherRows.apply(x, shards)


def all_gather_stacked(x: Tensor, group: Group = None) -> Tensor:
    """Return the `x` of all workers, (W, ...), in rank order; `x` has the same shape on all. Not differentiable."""
    _, workers = rank_and_world_size(group)
    own = x.unsqueeze(0)
    return own if workers == 1 else _all_gather(own, workers, group)


def all_gather_bytes(own: bytes, device: torch.device, group: Group = None) -> list[bytes]:
    """Return the bytes of all workers, which may differ in length, in rank order; `device` sends them."""
    mine = torch.tensor(list(own), dtype=torch.uint8, device=device)
    (shards,) = share_counts(torch.tensor([len(own)], device=device), group)
    parts = all_gather_rows(mine, shards).cpu().split(shards.sizes)
    return [bytes(part.numpy()) for part in parts]


def all_reduce_sum(x: Tensor, group: Group = None) -> Tensor:
    """Return the sum of `x` over all workers, the same on every worker; differentiable in `x`."""
    _, workers = rank_and_world_size(group)
    return x if workers == 1 else _Sum.apply(x, workers, group)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shards: Shards) -> Tensor:
        ctx.shards = shards
        workers, longest = len(shards.sizes), max(shards.sizes)
        short = longest - x.shape[0]
        padded = torch.cat((x, x.new_zeros(short, *x.shape[1:]))) if short else x
        gathered = _all_gather(padded, workers, shards.group)
        if min(shards.sizes) == longest:
            return gathered
        blocks = gathered.unflatten(0, (workers, longest))
        return torch.cat([block[:size] for block, size in zip(blocks, shards.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad[ctx.shards.mine] * len(ctx.shards.sizes), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, workers: int, group: Group) -> Tensor:
        ctx.workers = workers
        total = x.clone(memory_format=torch.contiguous_format)
        with _sending.get()(_bytes(total)):
            dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.workers, None, None


def _all_gather(x: Tensor, workers: int, group: Group) -> Tensor:
    """Return the `x` (rows, ...) of all workers as (workers * rows, ...); `x` has the same shape on all."""
    out = x.new_empty(workers * x.shape[0], *x.shape[1:])
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # torch 2.14 renamed it
    with _sending.get()(_bytes(x)):
        gather(out, x.contiguous(), group=group)
    return out


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()

"""What the losses and BatchNorm over all workers exchange: the only module that talks to torch.distributed.

Both differentiable collectives rest on one contract: **every worker computes the same scalar from the result and
calls backward on it with the same weight.** Then each already holds the whole gradient of the result, the part that
belongs to its own input is a slice or a copy of it, and backward needs no communication. It is multiplied by the
number of workers W, because DistributedDataParallel divides the sum of the workers' parameter gradients by W.

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
    """Inside, every collective runs in `sending(bytes that this worker gives to it)`."""
    token = _sending.set(sending)
    try:
        yield
    finally:
        _sending.reset(token)


def sending_now() -> Sending:
    """What `metered` was given last. A backward pass enters it again: on a GPU, autograd runs that in a thread of its own,
    which does not see what `metered` was given here."""
    return _sending.get()


@dataclass(frozen=True)
class Shards:
    """How many rows every worker holds, in rank order, and which of the global rows are ours."""

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
        """The same shards counted in views, when each row holds so many."""
        return Shards(tuple(size * views for size in self.sizes), self.rank, self.group)


def join_group(rank: int, world_size: int, *, backend: str, url: str, timeout: timedelta) -> None:
    """Make this process's group; `url` says where its members find each other, see torch's `init_process_group`."""
    dist.init_process_group(backend, init_method=url, rank=rank, world_size=world_size, timeout=timeout)


def leave_group() -> None:
    """Leave this process's group, where it has one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank_and_world_size(group: Group = None) -> tuple[int, int]:
    """This worker's rank and the number of workers W; (0, 1) without a process group.

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
    """Each worker's `counts` (k,), integers, as k `Shards`: one small exchange that sizes everything after it.

    Waits for the device once, since sizes must be known on the host; not where a single worker has its counts there.

    Args:
        device: through which the counts travel; by default the one where they are.
    """
    rank, workers = rank_and_world_size(group)
    table = counts.to(torch.int64).unsqueeze(0)  # (W, k)
    if workers > 1:
        table = _all_gather(table.to(device or table.device), workers, group)
    return [Shards(tuple(sizes), rank, group) for sizes in table.T.tolist()]


def all_gather_rows(x: Tensor, shards: Shards) -> Tensor:
    """The rows of every worker, (total, ...), in rank order; differentiable in `x` (size, ...).

    Rows travel once, in the dtype of `x`. Shards of different sizes are padded to the longest on the wire, as neither
    NCCL nor gloo gathers uneven shards in one call; the padding is cut off again.
    """
    if len(shards.sizes) == 1 or shards.total == 0:
        return x
    return _GatherRows.apply(x, shards)


def all_gather_stacked(x: Tensor, group: Group = None) -> Tensor:
    """`x`, of one shape on all workers, of every worker, (W, ...), in rank order; not differentiable."""
    _, workers = rank_and_world_size(group)
    own = x.unsqueeze(0)
    return own if workers == 1 else _all_gather(own, workers, group)


def all_gather_bytes(own: bytes, device: torch.device, group: Group = None) -> list[bytes]:
    """The bytes of every worker, of any length, in rank order; `device` is the one that they travel through."""
    mine = torch.tensor(list(own), dtype=torch.uint8, device=device)
    (shards,) = share_counts(torch.tensor([len(own)], device=device), group)
    parts = all_gather_rows(mine, shards).cpu().split(shards.sizes)
    return [bytes(part.numpy()) for part in parts]


def all_reduce_sum(x: Tensor, group: Group = None) -> Tensor:
    """The sum of `x` over the workers, on every worker; differentiable in `x`."""
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
    """`x` (rows, ...) of every worker, (workers * rows, ...); the same shape everywhere."""
    out = x.new_empty(workers * x.shape[0], *x.shape[1:])
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # torch 2.14 renamed it
    with _sending.get()(_bytes(x)):
        gather(out, x.contiguous(), group=group)
    return out


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()

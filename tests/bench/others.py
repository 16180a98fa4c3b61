"""Contenders and functions that misbehave, of a module so that processes can import them."""

from __future__ import annotations

import os
import signal
import time

import torch
import torch.distributed as dist

from benchmarks.loss.batch import Batch
from benchmarks.loss.contenders import Contender, Loss, our_ntxent


def make_wrong_value(processes: int) -> Loss:
    right = our_ntxent(processes)
    return lambda batch: right(batch) * 1.001


def make_wrong_gradient(processes: int) -> Loss:
    right = our_ntxent(processes)

    def loss(batch: Batch) -> torch.Tensor:
        value = right(batch)
        return value.detach() + 0.9 * (value - value.detach())

    return loss


def make_greedy(processes: int) -> Loss:
    right = our_ntxent(processes)

    def loss(batch: Batch) -> torch.Tensor:
        size = 1 if len(batch.views) <= 64 else 10**9  # after the warm-up
        return right(batch) + 0 * torch.ones(size).sum()

    return loss


def make_holding(processes: int) -> Loss:
    """Holds 80 MB at its peak."""
    right = our_ntxent(processes)
    return lambda batch: right(batch) + 0 * torch.ones(20_000_000).sum()


WRONG_VALUE = Contender("wrong value", make_wrong_value)
WRONG_GRADIENT = Contender("wrong gradient", make_wrong_gradient)
GREEDY = Contender("greedy", make_greedy)
HOLDING = Contender("holding", make_holding)
FORESEEN = Contender("foreseen", make_greedy, floats=1e9, order=2)


def whoami(rank: int, what: str) -> tuple[int, str, int, int]:
    return rank, what, torch.get_num_threads(), dist.get_world_size() if dist.is_initialized() else 1


def fail_on_one(rank: int) -> None:
    if rank == 1:
        raise KeyError("lost")
    dist.barrier()


def sleep(rank: int) -> None:
    time.sleep(60)


def vanish(rank: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(rank: int) -> None:
    os._exit(3)


def take_too_much(rank: int, allowed: int) -> str:
    from benchmarks.memory import limit_extra

    limit_extra(allowed)
    return str(torch.ones(10**9).shape)


def peaks(rank: int, numbers: int) -> list[int]:
    """Extra memory of holding so many float32, alone and after freed memory of the same size."""
    from benchmarks.memory import peak_of

    torch.ones(1000).sum()
    first = peak_of(lambda: torch.ones(numbers)).extra
    kept = [torch.ones(numbers)]
    kept.clear()
    return [first, peak_of(lambda: torch.ones(numbers)).extra]

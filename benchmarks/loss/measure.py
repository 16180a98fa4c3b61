"""The work of a crew's process: one forward and backward pass with its peak memory, or timed rounds of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.loss.batch import Batch, make_batch
from benchmarks.loss.contenders import Contender, Loss
from benchmarks.loss.equal import difference, tangent
from benchmarks.memory import is_out_of_memory, limit_extra, peak_of
from benchmarks.timing import calls_for, rounds_for, time_rounds

WARM_UP_PATCHES = 128  # enough to load every kernel and start the threads, too few to show in the memory


@dataclass(frozen=True)
class Case:
    """A part of the loss at a global batch of `patches`, shared by `processes`, with features of length `dim`."""

    part: str
    patches: int
    dim: int
    processes: int

    def __str__(self) -> str:
        return case_name(self.part, self.patches, self.processes)


def case_name(part: str, patches: int, processes: int) -> str:
    """A case in words: contrastive, 8,192 patches, 2 processes."""
    return f"{part}, {patches:,} patches, {processes} process{'es' if processes > 1 else ''}"


def measure_memory(rank: int, case: Case, contender: Contender, limit: float) -> dict[str, int]:
    """Peak bytes of one forward and backward in this process: `extra`, and the whole process's `total`.

    Everything that is loaded once (kernels, threads, connections) is there before, from a run on a few patches. `limit`
    bounds the extra memory of all processes together, in bytes, each having an equal part.
    """
    loss = contender.make(case.processes)
    run_step(loss, make_batch(case.part, WARM_UP_PATCHES, case.dim, rank, case.processes))
    batch = make_batch(case.part, case.patches, case.dim, rank, case.processes)
    limit_extra(int(limit / case.processes))
    _fence()
    peak = peak_of(lambda: run_step(loss, batch))
    return {"extra": peak.extra, "total": peak.total}


def measure_time(rank: int, case: Case, contenders: Sequence[Contender], repeats: int, limit: float) -> dict[str, Any]:
    """By contender: this process's `seconds` a call (one sample a round, at most `repeats`), the loss's global `value`
    as this process has it (their mean over processes is the value), and the `gradient`'s relative difference from the
    first contender's.
    """
    batch = make_batch(case.part, case.patches, case.dim, rank, case.processes)
    steps = {one.name: _Step(one.name, one.make(case.processes), batch) for one in contenders}
    limit_extra(int(limit / case.processes))
    values, gradients, calls, reference = {}, {}, {}, None
    round_seconds = 0.0
    for one in contenders:  # the warm-up round, left out of the samples
        step = steps[one.name]
        took = _clocked(step)
        values[one.name] = step.value / (case.processes if one.replicated else 1)
        gradient = tangent(batch.views.detach(), batch.views.grad)
        reference = gradient if reference is None else reference
        gradients[one.name] = difference(reference, gradient)
        took = _clocked(step) if took < 1 else took  # the first call of all is slower
        calls[one.name] = calls_for(took)
        round_seconds += took * calls[one.name]
    del reference, gradient
    seconds = time_rounds(steps, rounds_for(round_seconds, repeats), calls, _fence)
    return {"seconds": seconds, "value": values, "gradient": gradients}


def run_step(loss: Loss, batch: Batch) -> float:
    """One forward and backward: the value; the gradient is then that of `batch.views`."""
    batch.views.grad = None
    value = loss(batch)
    value.backward()
    return value.item()


class _Step:
    """`run_step` of one contender as a call without arguments, which says by name who ran out of memory."""

    def __init__(self, name: str, loss: Loss, batch: Batch):
        self.name, self.loss, self.batch = name, loss, batch
        self.value = float("nan")

    def __call__(self) -> None:
        try:
            self.value = run_step(self.loss, self.batch)
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(self.name) from None
            raise


def _clocked(step: Callable[[], None]) -> float:
    """Seconds of one call, the same on every process: the slowest one's."""
    _fence()
    started = time.perf_counter()
    step()
    return _longest(time.perf_counter() - started)


def _fence() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def _longest(seconds: float) -> float:
    """The longest of all processes' times."""
    if not dist.is_initialized():
        return seconds
    longest = torch.tensor(seconds, dtype=torch.float64)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    return longest.item()

"""Measure, with `train.profile`, how long each phase of a training step takes and how many bytes the step sends.

Time in a phase that lies inside another counts for the inner phase only, so that the phases add up. On a GPU the start
and the end of each phase wait for the device, which costs a little speed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pyarrow as pa
import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from wsc_ray.distributed import metered
from wsc_ray.files import read_table, write_table
from wsc_ray.storage import AnyPath

PHASES = ("wait", "encode", "loss", "communication", "optimizer")
STEPS = "steps"  # in the run folder


class Clock:
    """One worker's clock; `on=False` measures nothing and costs nothing."""

    def __init__(self, device: torch.device | None = None, *, on: bool = False):
        self.on, self._device = on, device
        self.rows: list[dict[str, float]] = []
        self._open: list[str] = []  # phases, the innermost last
        self._since = 0.0
        self._last_bucket: float | torch.cuda.Event | None = None
        self._clear()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a block, without phases inside it."""
        if not self.on:
            yield
            return
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    @contextlib.contextmanager
    def sending(self, sent: int) -> Iterator[None]:
        """Measure a collective of the loss or of BatchNorm over all workers, in which this worker sends `sent` bytes.

        See `wsc_ray.distributed.metered`.
        """
        self._row["loss_bytes"] += sent
        with self.phase("communication"):
            yield

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Count the bytes that a block sends for losses, for BatchNorm over all workers and, in DDP, for gradients."""
        if not self.on:
            yield
            return
        if isinstance(model, DistributedDataParallel):
            model.register_comm_hook(None, self._bucket)
        with metered(self.sending):
            yield

    def backward_ended(self) -> None:
        """Count the time since the last gradient was ready as communication.

        The encoder's backward pass has only waited for other workers since then.
        """
        if self._last_bucket is not None:
            self._turn()
            waited = _since(self._last_bucket)
            self._row["encode"] -= waited
            self._row["communication"] += waited
            self._last_bucket = None

    def step_ended(self, step: int, patches: int) -> None:
        """Keep the measurements of a step, in which this worker had `patches` patches."""
        if self.on:
            self.rows.append({"step": step, "patches": patches, **self._row})
            self._clear()

    def save(self, folder: AnyPath, rank: int) -> None:
        """Write a row for each step since the last call, with seconds by phase and bytes sent, into `RUN/steps`."""
        if self.rows:
            table = pa.Table.from_pylist([{"rank": rank, **row} for row in self.rows])
            name = f"{int(self.rows[0]['step']):09d}-{rank}.parquet"
            write_table(folder / STEPS / name, table)
            self.rows = []

    def _clear(self) -> None:
        self._row = dict.fromkeys(PHASES, 0.0) | {"loss_bytes": 0, "gradient_bytes": 0}

    def _turn(self) -> None:
        """Add the time since the last call to the innermost open phase."""
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        if self._open:
            self._row[self._open[-1]] += now - self._since
        self._since = now

    # Without annotations: DDP compares these as objects, and in this module they would be strings.
    def _bucket(self, state, bucket):  # type: ignore[no-untyped-def]  # see above
        buffer = bucket.buffer()
        self._row["gradient_bytes"] += buffer.numel() * buffer.element_size()
        if buffer.is_cuda:  # DDP calls this when the kernels are launched, long before they have run
            self._last_bucket = torch.cuda.Event(enable_timing=True)
            self._last_bucket.record()
        else:
            self._last_bucket = time.perf_counter()
        return allreduce_hook(None, bucket)  # type: ignore[arg-type]  # None is the default group, which its type leaves out


def _since(begin: float | torch.cuda.Event) -> float:
    """Return the seconds since `begin`, after waiting for the device."""
    if isinstance(begin, float):
        return time.perf_counter() - begin
    now = torch.cuda.Event(enable_timing=True)
    now.record()
    now.synchronize()
    return begin.elapsed_time(now) / 1000


def read_steps(folder: AnyPath) -> list[dict[str, float]]:
    """Return the rows of every worker, by step and rank; none for a run without `train.profile`."""
    files: list[AnyPath] = sorted((folder / STEPS).glob("*.parquet")) if (folder / STEPS).is_dir() else []
    rows = []
    for file in files:
        rows += read_table(file).to_pylist()
    return sorted(rows, key=lambda row: (row["step"], row["rank"]))

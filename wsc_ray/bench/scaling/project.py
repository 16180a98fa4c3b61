"""A projection to more GPUs than there are: the measured parts of a step, and an assumed network between them.

The costs of collectives are those of ring algorithms (Thakur, Rabenseifner and Gropp 2005): with W workers, latency a
and bandwidth b, an all-reduce of n bytes takes 2 (W - 1) (a + n / (W b)), an all-gather of n bytes from each
(W - 1) (a + n / b). Nothing is overlapped, data is never waited for, and a step's own work stays the same. The result is a bound
under these assumptions, not a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsc_ray.bench.scaling.figures import Figures
from wsc_ray.bench.scaling.promise import gathered_bytes, gradient_bytes, reduced_bytes
from wsc_ray.recipe.sections import Encoder


@dataclass(frozen=True)
class Network:
    """Latency in seconds, and bandwidth in bytes per second, of the connection from one worker to the next."""

    latency: float
    bandwidth: float

    def all_reduce(self, size: float, workers: int) -> float:
        """Return the seconds for a buffer of `size` bytes that every worker holds."""
        return 2 * (workers - 1) * (self.latency + size / (workers * self.bandwidth))

    def all_gather(self, size: float, workers: int) -> float:
        """Return the seconds until every worker has the `size` bytes of each worker."""
        return (workers - 1) * (self.latency + size / self.bandwidth)


@dataclass(frozen=True)
class Step:
    """One worker's measured step.

    Args:
        patches: number of the worker's patches.
        encode, loss, optimizer: seconds; the loss with the measured number of workers.
        gathered, reduced, gradient: bytes that the worker sends to the loss's all-gathers, to its all-reduce, and to the gradients'.
        measured: number of workers of the measurement.
    """

    patches: int
    encode: float
    loss: float
    optimizer: float
    gathered: float
    reduced: float
    gradient: float
    measured: int = 1

    def seconds(self, workers: int, network: Network) -> float:
        """Return the seconds of a step with `workers`, each with the same number of patches.

        The loss takes W times as long with W times as many workers: a worker's rows are compared with W times as many columns.
        """
        loss = self.loss * workers / self.measured
        talk = (
            network.all_gather(self.gathered, workers)
            + network.all_reduce(self.reduced, workers)
            + network.all_reduce(self.gradient, workers)
            if workers > 1
            else 0.0
        )
        return self.encode + loss + self.optimizer + talk


@dataclass(frozen=True)
class Projection:
    """The projected training with a number of GPUs."""

    workers: int
    step: float  # s
    rate: float  # patches a second
    efficiency: float
    hours: float
    price: float | None  # dollars


def project(step: Step, network: Network, workers: int, *, patches: float, dollars_an_hour: float | None) -> Projection:
    """Return the projection for training on `patches` in total (cohort x epochs), with a price per GPU and hour."""
    seconds, alone = step.seconds(workers, network), step.seconds(1, network)
    rate = workers * step.patches / seconds
    hours = patches / rate / 3600
    price = None if dollars_an_hour is None else hours * workers * dollars_an_hour
    return Projection(workers, seconds, rate, alone / seconds, hours, price)


def measured_step(found: Sequence[Figures], settings: dict[str, Any]) -> Step:
    """Return the step from which a projection starts: that of training with the smallest number of workers."""
    trained = [one for one in found if one.setting.work == "training" and one.setting.mode == "weak"]
    base = min(trained, key=lambda one: one.setting.workers)
    dim = Encoder().head_dim
    return Step(
        patches=settings["batch_size"],
        encode=base.seconds["encode"],
        loss=base.seconds["loss"],
        optimizer=base.seconds["optimizer"],
        gathered=gathered_bytes(settings["batch_size"] // 2, dim),
        reduced=reduced_bytes(dim),
        gradient=gradient_bytes(settings["backbone"], settings["crop"]),
        measured=base.setting.workers,
    )

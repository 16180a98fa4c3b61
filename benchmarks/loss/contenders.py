"""The contenders: our losses, the restatements, and two libraries' losses, scaled to the same value.

A contender's loss is what DistributedDataParallel averages: its gradient is the number of processes times that of the
global loss. The libraries have no base temperature, so that their losses are multiplied by t / t0.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmarks.loss import restatement
from benchmarks.loss.batch import BASE_TEMPERATURE, PURE, TEMPERATURE, Batch

Loss = Callable[[Batch], Tensor]
SCALE = TEMPERATURE / BASE_TEMPERATURE
OURS, RESTATEMENT, LIGHTLY, METRIC = "wsc-ray", "restatement", "lightly", "pytorch-metric-learning"
PACKAGES = {LIGHTLY: "lightly", METRIC: "pytorch_metric_learning"}
PRELOAD = (
    "wsc_ray.losses",
    "benchmarks.loss.measure",
    "lightly.loss.ntx_ent_loss",
    "pytorch_metric_learning.losses",
    "pytorch_metric_learning.utils.distributed",
)


@dataclass(frozen=True)
class Contender:
    """One loss of one origin.

    Args:
        name: OURS, RESTATEMENT, LIGHTLY or METRIC.
        make: from the number of processes, the function from a process's batch to its loss. Imports what it needs.
        replicated: every process computes the whole global loss, multiplied by their number.
        floats, order: about floats x patches^order float32 numbers are held at the peak, by each process if
            `replicated`, else by all together: measured at 2,048 patches (NT-Xent of METRIC, which lays out every pair
            of positives and negatives, at 256) and rounded down, so that only what cannot run is not tried.
    """

    name: str
    make: Callable[[int], Loss]
    replicated: bool = False
    floats: float = 0.0
    order: int = 1

    def needs(self, patches: int, processes: int) -> float:
        """Predicted peak in bytes, over all processes, for a global batch."""
        return 4 * self.floats * patches**self.order * (processes if self.replicated else 1)


def contenders(part: str) -> list[Contender]:
    """Everybody whose package is installed, for one of `PARTS`; ours first."""
    return [one for one in CONTENDERS[part] if one.name not in PACKAGES or is_installed(one.name)]


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(PACKAGES[name]) is not None


def our_weaksupcon(processes: int) -> Loss:
    from wsc_ray.losses import WeakSupConLoss

    loss = WeakSupConLoss(pure=(PURE,), temperature=TEMPERATURE, base_temperature=BASE_TEMPERATURE)
    return lambda batch: loss(batch.views, batch.labels).total


def our_similarity(processes: int) -> Loss:
    from wsc_ray.losses import similarity_loss

    return lambda batch: similarity_loss(batch.views, base_temperature=BASE_TEMPERATURE)


def our_ntxent(processes: int) -> Loss:
    from wsc_ray.losses import ntxent_loss

    settings = {"temperature": TEMPERATURE, "base_temperature": BASE_TEMPERATURE}
    return lambda batch: ntxent_loss(*batch.views.unbind(1), **settings)


def our_supcon(processes: int) -> Loss:
    from wsc_ray.losses import supcon_loss

    settings = {"temperature": TEMPERATURE, "base_temperature": BASE_TEMPERATURE}
    return lambda batch: supcon_loss(batch.views, batch.labels, **settings)


def plain_weaksupcon(processes: int) -> Loss:
    def loss(batch: Batch) -> Tensor:
        z, labels, patches = (restatement.gathered(x) for x in (batch.rows, batch.row_labels, batch.row_patches))
        return processes * restatement.weaksupcon(z, labels, patches, TEMPERATURE, BASE_TEMPERATURE, PURE)

    return loss


def plain_similarity(processes: int) -> Loss:
    def loss(batch: Batch) -> Tensor:
        z, labels = restatement.gathered(batch.rows), restatement.gathered(batch.row_labels)
        return processes * restatement.similarity(z, labels, BASE_TEMPERATURE)

    return loss


def plain_ntxent(processes: int) -> Loss:
    def loss(batch: Batch) -> Tensor:
        z, patches = restatement.gathered(batch.rows), restatement.gathered(batch.row_patches)
        return processes * restatement.contrast(z, patches, TEMPERATURE, BASE_TEMPERATURE)

    return loss


def plain_supcon(processes: int) -> Loss:
    def loss(batch: Batch) -> Tensor:
        z, labels = restatement.gathered(batch.rows), restatement.gathered(batch.row_labels)
        return processes * restatement.contrast(z, labels, TEMPERATURE, BASE_TEMPERATURE)

    return loss


def lightly_ntxent(processes: int) -> Loss:
    from lightly.loss.ntx_ent_loss import NTXentLoss

    loss = NTXentLoss(temperature=TEMPERATURE, gather_distributed=processes > 1)
    return lambda batch: SCALE * loss(*batch.views.unbind(1))


def metric_ntxent(processes: int) -> Loss:
    from pytorch_metric_learning.losses import NTXentLoss

    loss = _metric(NTXentLoss(temperature=TEMPERATURE), processes)
    return lambda batch: SCALE * loss(batch.rows, batch.row_patches)


def metric_supcon(processes: int) -> Loss:
    from pytorch_metric_learning.losses import SupConLoss

    loss = _metric(SupConLoss(temperature=TEMPERATURE), processes)
    return lambda batch: SCALE * loss(batch.rows, batch.row_labels)


def _metric(loss: Callable[[Tensor, Tensor], Tensor], processes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Its wrapper as it comes: `efficient=True` would drop the gradient that own rows get from others' losses."""
    from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

    return DistributedLossWrapper(loss) if processes > 1 else loss


CONTENDERS: dict[str, list[Contender]] = {
    "weaksupcon": [
        Contender(OURS, our_weaksupcon),
        Contender(RESTATEMENT, plain_weaksupcon, replicated=True, floats=7, order=2),
    ],
    "similarity": [
        Contender(OURS, our_similarity),
        Contender(RESTATEMENT, plain_similarity, replicated=True, floats=3, order=2),
    ],
    "contrastive": [
        Contender(OURS, our_ntxent),
        Contender(RESTATEMENT, plain_ntxent, replicated=True, floats=7, order=2),
        Contender(LIGHTLY, lightly_ntxent, floats=4.5, order=2),
        Contender(METRIC, metric_ntxent, replicated=True, floats=4.2, order=3),
    ],
    "supcon": [
        Contender(OURS, our_supcon),
        Contender(RESTATEMENT, plain_supcon, replicated=True, floats=24, order=2),
        Contender(METRIC, metric_supcon, replicated=True, floats=48, order=2),
    ],
}

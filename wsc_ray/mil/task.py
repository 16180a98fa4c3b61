"""What all fits of a search share: those of its trials, and those of its members afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wsc_ray.mil.fit import Fit, Source, fit_head
from wsc_ray.mil.head import settings_from
from wsc_ray.recipe.sections import Tune
from wsc_ray.storage import AnyPath

RETRIES = 2  # how often a fit is repeated whose worker was lost
FOLDS = "folds"
REDUCTION = 3  # ASHA stops two of three trials at a rung; the next rung is at three times the epochs


@dataclass(frozen=True)
class Task:
    """One search without its bags.

    Attributes:
        tune: the recipe's section.
        classes: the classes, in order.
        seed: the recipe's seed.
        root: the output folder of the command.
        fold: the fold that is held out from this search; None if that is the cohort's test split.
    """

    tune: Tune
    classes: Sequence[str]
    seed: int
    root: AnyPath
    fold: str | None = None

    @property
    def out(self) -> AnyPath:
        """The folder of the search's records."""
        return self.root if self.fold is None else self.root / FOLDS / self.fold

    @property
    def prefix(self) -> str:
        """Prefix of the names of this search's trials and members in MLflow and `members/`; "" without folds."""
        return "" if self.fold is None else f"fold-{self.fold}-"

    @property
    def resources(self) -> dict[str, float]:
        """The resources that a fit reserves, by Ray Tune's names."""
        gpus = {"gpu": self.tune.gpus_per_trial} if self.on_gpu else {}
        return {"cpu": self.tune.cpus_per_trial, **gpus}

    @property
    def threads(self) -> int:
        """Number of torch's threads in a fit."""
        return max(1, int(self.tune.cpus_per_trial))

    @property
    def on_gpu(self) -> bool:
        """Whether a fit runs on a GPU, or a share of one."""
        return self.tune.gpus_per_trial > 0

    @property
    def rungs(self) -> list[int]:
        """The epochs after which ASHA compares trials; none without ASHA."""
        rungs, epoch = [], self.tune.grace
        while self.tune.scheduler == "asha" and epoch < self.tune.epochs:
            rungs.append(epoch)
            epoch *= REDUCTION
        return rungs

    def fit(
        self,
        train: Source,
        val: Source,
        values: Mapping[str, Any],
        *,
        seed: int,
        on_rung: Callable[[Fit, float], None] | None = None,
    ) -> tuple[Fit, float]:
        """Fit a head in this process, with one thread per CPU; return the fit and its seconds.

        Args:
            values: the head's settings, see `settings_values`.
            seed: the seed of the fit.
            on_rung: called at each of `rungs` with the fit so far and the seconds so far.
        """

        def at_rung(fit: Fit) -> None:
            if on_rung is not None:
                on_rung(fit, time.monotonic() - started)

        torch.set_num_threads(self.threads)  # with one thread, sums have the same order on every machine
        started = time.monotonic()
        fit = fit_head(
            train,
            val,
            settings_from(values),
            classes=len(self.classes),
            epochs=self.tune.epochs,
            patience=self.tune.patience,
            bags_per_step=self.tune.bags_per_step,
            seed=seed,
            max_instances=self.tune.max_instances,
            bf16=self.on_gpu and self.tune.precision != "fp32",
            device="cuda" if self.on_gpu else "cpu",
            rungs=self.rungs if on_rung is not None else (),
            on_rung=at_rung,
        )
        return fit, time.monotonic() - started

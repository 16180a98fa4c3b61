"""What all fits of a search have in common: trials, and the members that are fitted afterwards."""

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

RETRIES = 2  # of a fit whose worker was lost
FOLDS = "folds"
REDUCTION = 3  # of ASHA: two of three trials are stopped at a rung, and the next is at three times its epochs


@dataclass(frozen=True)
class Task:
    """One search, apart from its bags.

    Attributes:
        tune: the recipe's.
        classes: names, in order.
        seed: the recipe's.
        root: the output folder of the command.
        fold: what is held out from this search; None: the cohort's test split.
    """

    tune: Tune
    classes: Sequence[str]
    seed: int
    root: AnyPath
    fold: str | None = None

    @property
    def out(self) -> AnyPath:
        """Where the records of the search lie."""
        return self.root if self.fold is None else self.root / FOLDS / self.fold

    @property
    def prefix(self) -> str:
        """Before the names of what this search makes, where there are several searches."""
        return "" if self.fold is None else f"fold-{self.fold}-"

    @property
    def resources(self) -> dict[str, float]:
        """What a fit reserves, as Ray Tune names it."""
        gpus = {"gpu": self.tune.gpus_per_trial} if self.on_gpu else {}
        return {"cpu": self.tune.cpus_per_trial, **gpus}

    @property
    def threads(self) -> int:
        """Of torch, in a fit."""
        return max(1, int(self.tune.cpus_per_trial))

    @property
    def on_gpu(self) -> bool:
        """Whether a fit is on a GPU, or a share of one."""
        return self.tune.gpus_per_trial > 0

    @property
    def rungs(self) -> list[int]:
        """Epochs after which ASHA compares trials; none without it."""
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
        """Fit a head in this process, on one thread a CPU; and the seconds that it took.

        Args:
            values: its settings, see `settings_values`.
            seed: of the fit.
            on_rung: called at each of `rungs` with the fit as it stands, and the seconds so far.
        """

        def at_rung(fit: Fit) -> None:
            if on_rung is not None:
                on_rung(fit, time.monotonic() - started)

        torch.set_num_threads(self.threads)  # of one thread, sums are in one order whatever the machine
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

"""The Ray Tune glue: trials side by side on a cluster, each on one CPU, the bags shared through the object store.

The settings are drawn beforehand (`space.settings`), and Tune is given the numbers of the trials still to run. Its own
`Tuner.restore` is not used: after a SIGKILL of the driver it repeats trials that had ended since its last snapshot,
while a record that each trial writes itself is either there or not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.head import settings_from
from wsc_ray.mil.trials import Trial, read_trial, write_trial
from wsc_ray.recipe.sections import Tune
from wsc_ray.storage import AnyPath

RETRIES = 2  # of a trial whose worker was lost
SCRATCH = ".tune"


@dataclass(frozen=True)
class Task:
    """What every trial of a search has in common, apart from the bags."""

    settings: Sequence[Mapping[str, Any]]  # of every trial, see `settings_values`
    tune: Tune
    classes: Sequence[str]
    seed: int
    out: AnyPath


def run_trials(
    train: Bags, val: Bags, task: Task, numbers: Sequence[int], *, on_trial: Callable[[Trial], None]
) -> None:
    """Run the trials `numbers` and leave each in `task.out` (see `trials`); needs a Ray session.

    Args:
        on_trial: called here, in the driver, with each trial as it finishes.

    Raises:
        Exception: what a trial raised.
    """
    # Tune's handler turns Ctrl-C into a search that seems to have ended well; Python's own stops the command.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints tables even when told to be silent
    # Tune's own files are of no use afterwards; beside an output on an object store they stay with the driver.
    scratch = task.out / SCRATCH if isinstance(task.out, Path) else Path(tempfile.mkdtemp(prefix="wsc-ray-tune-"))
    shutil.rmtree(scratch, ignore_errors=True)  # of a search that was killed
    trainable = tune.with_parameters(_trial, train=train, val=val, task=task)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(numbers))},
        tune_config=tune.TuneConfig(max_concurrent_trials=task.tune.concurrent, reuse_actors=True),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Finished(task.out, on_trial)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        results = tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if results.errors:
        raise results.errors[0]


def _trial(config: dict[str, Any], *, train: Bags, val: Bags, task: Task) -> None:
    """One trial, in a worker: fit, write, report."""
    torch.set_num_threads(1)  # one CPU a trial, and one order of summation whatever the machine
    number, settings = config["number"], task.tune
    trial = read_trial(task.out, number)
    if trial is None:
        setting = settings_from(task.settings[number])
        started = time.monotonic()
        fit = fit_head(
            train,
            val,
            setting,
            classes=len(task.classes),
            epochs=settings.epochs,
            patience=settings.patience,
            bags_per_step=settings.bags_per_step,
            seed=task.seed,
        )
        seconds = time.monotonic() - started
        trial = Trial(number, setting, fit.scores, fit.best_epoch, len(fit.history), seconds)
        write_trial(task.out, trial, fit, task.classes)
    tune.report(trial.scores)


class _Finished(tune.Callback):
    """Tells the driver of each trial that has ended well."""

    def __init__(self, out: AnyPath, on_trial: Callable[[Trial], None]):
        self.out, self.on_trial = out, on_trial

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        done = read_trial(self.out, trial.config["number"])
        assert done is not None, "a trial ended without its record"
        self.on_trial(done)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune keeps a copy of its configuration on disk; MLflow's client and the progress bar have no business there.
        return tune.Callback, ()

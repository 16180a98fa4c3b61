"""Ray Tune glue: trials in parallel on a cluster, each on its CPUs or its share of a GPU; the object store shares the bags.

The settings of a random search are drawn beforehand (`random_settings`), and Tune gets the numbers of the missing trials. With TPE
the settings come from Tune's `OptunaSearch`. `Tuner.restore` is not used: after a SIGKILL of the driver it repeats trials that ended
since its last snapshot, while here each trial writes a record when it is done. After a kill, searcher and scheduler are given
the finished records again, and go on from them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from wsc_ray.disk import check_room
from wsc_ray.mil.fit import Fit, Source
from wsc_ray.mil.head import settings_from, settings_values
from wsc_ray.mil.random_search import random_settings
from wsc_ray.mil.task import REDUCTION, RETRIES, Task
from wsc_ray.mil.trials import SCRATCH, Trial, read_losses, read_trial, write_fit, write_record
from wsc_ray.storage import AnyPath

EPOCHS, LOSS = "epochs", "lowest_loss"  # what ASHA compares: epochs so far, and the lowest validation loss among them


def run_trials(
    train: Source,
    val: Source,
    task: Task,
    finished: Mapping[int, Trial],
    missing: Sequence[int],
    *,
    on_trial: Callable[[Trial], None],
) -> None:
    """Run the missing trials and write each to `task.out` (see `trials`); needs a Ray session.

    Args:
        finished: the trials that have a record, by number.
        on_trial: called in this process, the driver, with each trial when it ends.

    Raises:
        Exception: a trial raised it.
    """
    # With Tune's handler, a search that Ctrl-C interrupts seems to have succeeded; Python's handler stops the command.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints tables even with verbose=0
    # Tune's own files are not needed afterwards. If the output is on an object store, they stay on the driver's machine.
    scratch = task.out / SCRATCH if isinstance(task.out, Path) else Path(tempfile.mkdtemp(prefix="wsc-ray-tune-"))
    drawn = _drawn(task)
    trainable = tune.with_parameters(_trial, train=train, val=val, task=task, drawn=drawn)
    space, searched = _search(task, finished, missing)
    tuner = tune.Tuner(
        tune.with_resources(trainable, task.resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=task.tune.concurrent,
            reuse_actors=True,
            scheduler=_scheduler(task, finished),
            **searched,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Finished(task.out, drawn, on_trial)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        results = tuner.fit()
    except Exception:
        # On a full disk Tune cannot write a trial's error whole, and then raises UnpicklingError when it reads the file.
        check_room(task.out)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if results.errors:
        raise results.errors[0]


def _drawn(task: Task) -> list[dict[str, Any]]:
    """Return the settings of all trials of a random search, as `settings_values`.

    For TPE the list is empty, since TPE draws them during the search.
    """
    if task.tune.search != "random":
        return []
    return [settings_values(settings) for settings in random_settings(task.tune, task.seed)]


def _values(config: Mapping[str, Any], drawn: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the settings of one trial."""
    return config["setting"] if "setting" in config else drawn[config["number"]]


def _search(task: Task, finished: Mapping[int, Trial], missing: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Tune's search space and the arguments that select the search.

    A point of the space has a trial's `number`, and with TPE its `setting`.
    """
    if task.tune.search == "random":
        return {"number": tune.grid_search(list(missing))}, {}
    from ray.tune.search.optuna import OptunaSearch

    from wsc_ray.mil.tpe import OBJECTIVE, STUDY, NumberedTPE, Space, study_storage

    searcher = OptunaSearch(
        Space(task.tune, missing),
        metric=OBJECTIVE,
        mode="max",
        sampler=NumberedTPE(task.seed),
        storage=study_storage(task.tune, finished.values()),
        study_name=STUDY,
    )
    return {}, {"search_alg": searcher, "num_samples": len(missing)}


def _scheduler(task: Task, finished: Mapping[int, Trial]) -> ASHAScheduler | None:
    """Return ASHA, after it has been given the results of the finished trials in order.

    Return None if the recipe wants no scheduler.
    """
    if task.tune.scheduler == "none":
        return None
    scheduler = ASHAScheduler(
        time_attr=EPOCHS,
        metric=LOSS,
        mode="min",
        max_t=task.tune.epochs,
        grace_period=task.tune.grace,
        reduction_factor=REDUCTION,
    )
    controller: Any = None  # ASHA does not use its controller
    for number in sorted(finished):
        losses = read_losses(task.out, number)
        trial: Any = SimpleNamespace(trial_id=f"finished-{number}")
        result = {EPOCHS: len(losses), LOSS: min(losses)}
        scheduler.on_trial_add(controller, trial)
        for rung in [epoch for epoch in task.rungs if epoch < len(losses)]:
            scheduler.on_trial_result(controller, trial, {EPOCHS: rung, LOSS: min(losses[:rung])})
        scheduler.on_trial_result(controller, trial, result)
        scheduler.on_trial_complete(controller, trial, result)
    return scheduler


def _trial(
    config: dict[str, Any], *, train: Source, val: Source, task: Task, drawn: Sequence[Mapping[str, Any]]
) -> None:
    """Fit one trial, write it and report it.

    It runs in a Ray worker. The scheduler may stop the trial at a rung; `tune.report` then ends it.
    """
    number, values = config["number"], _values(config, drawn)
    setting = settings_from(values)
    trial = read_trial(task.out, number)
    if trial is None:

        def at_rung(fit: Fit, seconds: float) -> None:
            write_fit(task.out, number, setting, fit, task.classes)
            tune.report(_report(fit, seconds))

        fit, seconds = task.fit(train, val, values, seed=task.seed, on_rung=at_rung)
        trial = Trial(number, setting, fit.scores, fit.best_epoch, len(fit.history), seconds)
        write_fit(task.out, number, setting, fit, task.classes)
        write_record(task.out, trial)
        tune.report(_report(fit, seconds))
    else:  # a worker wrote the record and was lost before its report
        losses = read_losses(task.out, number)
        tune.report({**trial.scores, EPOCHS: len(losses), LOSS: min(losses)})


def _report(fit: Fit, seconds: float) -> dict[str, float]:
    lowest = min(entry["val_loss"] for entry in fit.history)
    so_far = {"best_epoch": fit.best_epoch, EPOCHS: len(fit.history), LOSS: lowest, "seconds": seconds}
    return {**fit.scores, **so_far}


class _Finished(tune.Callback):
    """Calls `on_trial` for each trial that ended well or was stopped; for a stopped one it writes the record first."""

    def __init__(self, out: AnyPath, drawn: Sequence[Mapping[str, Any]], on_trial: Callable[[Trial], None]):
        self.out, self.drawn, self.on_trial = out, drawn, on_trial

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        done = read_trial(self.out, number)
        if done is None:
            last = trial.last_result
            scores = {name: last[name] for name in ("loss", "auroc", "balanced_accuracy")}
            setting = settings_from(_values(trial.config, self.drawn))
            done = Trial(number, setting, scores, last["best_epoch"], last[EPOCHS], last["seconds"], stopped=True)
            write_record(self.out, done)
        self.on_trial(done)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its configuration to disk; MLflow's client and the progress bar must not be part of it.
        return tune.Callback, ()

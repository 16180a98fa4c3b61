"""One search: running its trials, choosing the best setting, and fitting its members; finished parts are not done again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from wsc_ray.mil.ensemble import keep_chosen, member_name, member_seed, read_scores
from wsc_ray.mil.fit import Source
from wsc_ray.mil.task import Task
from wsc_ray.mil.trials import Trial, best_trial, read_trials
from wsc_ray.progress import Progress
from wsc_ray.tracking import Tracker


@dataclass(frozen=True)
class Chosen:
    """The result of a search.

    Attributes:
        trials: all trials, in order.
        best: the chosen trial.
        members: each member's validation scores, by the member's name.
    """

    trials: list[Trial]
    best: Trial
    members: dict[str, dict[str, float]]


def choose_head(task: Task, train: Source, val: Source, about: Mapping[str, Any], tracker: Tracker) -> Chosen:
    """Run the missing trials and fit the missing members; each is logged once, as a child run in MLflow. Needs a Ray session.

    Args:
        about: see `ensemble.write_member`.
    """
    with _log_thread() as later:
        trials = _run_missing(task, train, val, tracker, later)
        best = best_trial(trials)
        members = _fit_missing(task, train, val, best, about, tracker, later)
    return Chosen(trials, best, members)


def _run_missing(
    task: Task, train: Source, val: Source, tracker: Tracker, later: Callable[[Callable[[], None]], None]
) -> list[Trial]:
    count = task.tune.trials
    trials = read_trials(task.out, count)
    for trial in trials.values():
        _log_trial(task, trial, tracker)
    missing = [number for number in range(count) if number not in trials]
    if missing:
        from wsc_ray.mil.ray_tune import run_trials

        with Progress(_title("tune", task), count, unit="trials", done=len(trials)) as progress:

            def finished(trial: Trial) -> None:
                trials[trial.number] = trial
                later(lambda: _log_trial(task, trial, tracker))
                progress.advance(1, f"best validation AUROC {best_trial(list(trials.values())).scores['auroc']:.3f}")

            run_trials(train, val, task, dict(trials), missing, on_trial=finished)
    return [trials[number] for number in range(count)]


def _fit_missing(
    task: Task,
    train: Source,
    val: Source,
    best: Trial,
    about: Mapping[str, Any],
    tracker: Tracker,
    later: Callable[[Callable[[], None]], None],
) -> dict[str, dict[str, float]]:
    numbers = range(task.tune.seeds)
    if read_scores(task, 0, best) is None:
        keep_chosen(task, best, about)
    scores = {number: read for number in numbers if (read := read_scores(task, number, best)) is not None}
    for number in scores:
        _log_member(task, number, scores[number], tracker)
    missing = [number for number in numbers if number not in scores]
    if missing:
        from wsc_ray.mil.ray_members import fit_members

        with Progress(_title("refit", task), len(numbers), unit="seeds", done=len(scores)) as progress:

            def finished(number: int) -> None:
                new = read_scores(task, number, best)
                assert new is not None, "a fit ended without its member"
                scores[number] = new
                later(lambda: _log_member(task, number, new, tracker))
                progress.advance(1)

            fit_members(train, val, task, best, missing, about, on_member=finished)
    return {member_name(task, number): scores[number] for number in numbers}


def _log_trial(task: Task, trial: Trial, tracker: Tracker) -> None:
    metrics = {f"val_{key}": value for key, value in trial.scores.items()}
    metrics |= {"best_epoch": trial.best_epoch, "epochs": trial.epochs, "seconds": trial.seconds}
    tracker.child(name=f"{task.prefix}{trial.name}", params=trial.described, metrics=metrics)


def _log_member(task: Task, number: int, scores: Mapping[str, float], tracker: Tracker) -> None:
    params = {"seed": number, "fit_seed": member_seed(task.seed, number)}
    metrics = {f"val_{key}": value for key, value in scores.items()}
    tracker.child(name=member_name(task, number), params=params, metrics=metrics)


def _title(what: str, task: Task) -> str:
    return what if task.fold is None else f"{what} fold {task.fold}"


@contextlib.contextmanager
def _log_thread() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that queues a call for a thread, which makes the calls in order.

    The block ends when all calls are done, and raises the error of a failed one. The calls log to MLflow: Ctrl-C interrupts the main
    thread only, and an interrupted call could leave the store locked.
    """
    with ThreadPoolExecutor(1) as thread:
        calls: list[Future[None]] = []
        yield lambda call: calls.append(thread.submit(call))
        for call in calls:
            call.result()

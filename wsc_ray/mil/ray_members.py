"""Ray glue: fitting the chosen setting with further seeds, in one Ray task per member; the task writes the member's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from wsc_ray.errors import ResourceError
from wsc_ray.mil.ensemble import member_seed, write_member
from wsc_ray.mil.fit import Source
from wsc_ray.mil.task import RETRIES, Task
from wsc_ray.mil.trials import Trial, read_trial


def fit_members(
    train: Source,
    val: Source,
    task: Task,
    best: Trial,
    numbers: Sequence[int],
    about: Mapping[str, Any],
    *,
    on_member: Callable[[int], None],
) -> None:
    """Fit the members `numbers` of a search and write each to its folder; needs a Ray session.

    Args:
        best: the chosen trial.
        about: see `write_member`.
        on_member: called in this process, the driver, with the number of each member when its fit ends.

    Raises:
        Exception: a fit raised it.
    """
    fit = ray.remote(num_cpus=task.resources["cpu"], num_gpus=task.resources.get("gpu", 0), max_retries=RETRIES)(
        _fit_member
    )
    bags = ray.put(train), ray.put(val)
    waiting = list(numbers)
    running: dict[ray.ObjectRef[None], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < task.tune.concurrent:
                number = waiting.pop(0)
                running[fit.remote(*bags, task, best.number, number, dict(about))] = number
            done, _ = ray.wait(list(running))
            for reference in done:
                number = running.pop(reference)
                ray.get(reference)
                on_member(number)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def require_resources(wanted: Mapping[str, float]) -> None:
    """Check that a node of the cluster has the resources for a fit; otherwise Ray would wait silently for such a node.

    Args:
        wanted: see `Task.resources`.

    Raises:
        ResourceError: no node has these resources.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, amount in wanted.items():
        most = max((node.get(name.upper(), 0) for node in nodes), default=0)
        if amount > most:
            raise ResourceError(
                f"tune.{name}s_per_trial is {amount:g}, and no node has more than {most:g} {name.upper()}s; give less"
            )


def _fit_member(train: Source, val: Source, task: Task, trial: int, number: int, about: dict[str, Any]) -> None:
    """Fit one member and write its folder; runs in a Ray worker."""
    best = read_trial(task.out, trial)
    assert best is not None, "the chosen trial has no record"
    fit, _ = task.fit(train, val, best.described, seed=member_seed(task.seed, number))
    write_member(task, number, best, fit, about)

"""The options that cannot be, and what a reader has to know of those that were taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from wsc_ray.bench.environment import unquiet, usable_cores
from wsc_ray.errors import UserError


def check(settings: dict[str, Any], mock_model: float | None, skip_training: bool, assumed: dict[str, Any]) -> None:
    """
    Args:
        assumed: of a projection; empty where there is none.

    Raises:
        UserError: an option that cannot be.
    """
    if not settings["workers"] or min(settings["workers"]) < 1:
        raise UserError("--workers: name numbers from 1, such as 1,2,4")
    if settings["batch_size"] < 4 or settings["batch_size"] % 2:
        raise UserError(f"--batch-size must be even and 4 or more, not {settings['batch_size']}")
    fewest, most = settings["workers"][0], settings["workers"][-1]
    if fewest * settings["batch_size"] // 2 < most:
        raise UserError(
            f"--batch-size {settings['batch_size']}: the fewest workers' batch has too few patches for {most} workers to share"
        )
    for name in ("steps", "warm_up", "rounds", "crop", "cores"):
        if settings[name] < (0 if name == "warm_up" else 1):
            raise UserError(f"--{name.replace('_', '-')} must be 1 or more, not {settings[name]}")
    if settings["cores"] > usable_cores():
        raise UserError(f"--cores {settings['cores']}: there are {usable_cores()}")
    share = settings["cpus_per_worker"]
    if not os.environ.get("RAY_ADDRESS") and not 0.5 < share <= 0.9:
        # Ray Train puts two workers on one node where they fit.
        raise UserError(f"--cpus-per-worker must be above 0.5 and at most 0.9 of a node's one CPU, not {share:g}")
    if skip_training and mock_model is not None:
        raise UserError("--skip-training and --mock-model are two ways to do without training; give one of them")
    if assumed and (skip_training or mock_model is not None):
        raise UserError("--project needs training to be measured; leave --skip-training and --mock-model out")
    if mock_model is not None and mock_model < 0:
        raise UserError(f"--mock-model must be 0 or more, not {mock_model:g}")
    for name, least in (("network", 1e-3), ("latency", 0), ("cohort", 1), ("epochs", 1), ("price", 0)):
        if assumed.get(name) is not None and assumed[name] < least:
            raise UserError(f"--{name} must be {least:g} or more, not {assumed[name]:g}")


def notes(load: float, cores: int, workers: Sequence[int], quick: bool) -> list[str]:
    """What a reader has to know beside the figures."""
    found = []
    if quick:
        found.append("Tiny sizes (--quick): the figures mean nothing.")
    if not os.environ.get("RAY_ADDRESS"):
        found.append(f"Every worker has a Ray node of its own on this machine, pinned to one of {cores} core(s).")
        if max(workers) > cores:
            found.append(
                f"With more than {cores} workers, several nodes share a core: their efficiency is bounded by it."
            )
    return [*found, *unquiet(load, cores)]

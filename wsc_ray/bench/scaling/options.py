"""Checking the options, computing defaults from other options, and notes for readers of the figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from wsc_ray.bench.environment import unquiet, usable_cores
from wsc_ray.errors import UserError


def spread_over(workers: Sequence[int], nodes: Sequence[int] | None) -> dict[int, int]:
    """Return the number of nodes for each number of workers.

    Args:
        nodes: a number for each of `workers`; None for one node per worker.

    Raises:
        UserError: the workers cannot be divided evenly among the nodes.
    """
    if nodes is None:
        return {count: count for count in workers}
    if os.environ.get("RAY_ADDRESS"):
        raise UserError("--nodes starts nodes on this machine; on a cluster, workers go where there is room for them")
    if len(nodes) != len(workers) or len(set(workers)) != len(workers):
        raise UserError("--nodes: give one number for each of --workers, and none of those twice")
    for count, over in zip(workers, nodes, strict=True):
        if over < 1 or count % over:
            raise UserError(f"--nodes {over}: {count} workers cannot be shared out evenly over so many")
    return dict(zip(workers, nodes, strict=True))


def default_cpus(spread: dict[int, int]) -> float:
    """Return the CPUs that a worker reserves, so that a node takes exactly its share of workers, and CPUs are left for reading.

    A node has as many CPUs as its share of workers, so that one more worker does not fit if each reserves more than
    share / (share + 1).
    """
    share = _share(spread)
    return 0.6 if share == 1 else round((2 * share + 1) / (2 * share + 2), 3)  # 0.6 leaves reading more than 0.75


def _share(spread: dict[int, int]) -> int:
    """Return the largest number of workers on one node."""
    return max((count // over for count, over in spread.items() if count > 0), default=1)


def check(
    settings: dict[str, Any],
    spread: dict[int, int],
    mock_model: float | None,
    skip_training: bool,
    assumed: dict[str, Any],
) -> None:
    """Check the options before anything is written.

    Args:
        settings: the options in the summary, with defaults filled in.
        spread: see `spread_over`.
        mock_model: ms of a step; None for no such model.
        skip_training: whether only reading is measured.
        assumed: the assumptions of the projection; empty if there is none.

    Raises:
        UserError: an option has an impossible value.
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
        smallest = 0 if name == "warm_up" else 1
        if settings[name] < smallest:
            raise UserError(f"--{name.replace('_', '-')} must be {smallest} or more, not {settings[name]}")
    if settings["cores"] > usable_cores():
        raise UserError(f"--cores {settings['cores']}: there are {usable_cores()}")
    share, reserved = _share(spread), settings["cpus_per_worker"]
    above = share / (share + 1)  # Ray Train puts one more worker on a node if it fits
    if not os.environ.get("RAY_ADDRESS") and not above < reserved <= max(0.9, (above + 1) / 2):
        raise UserError(
            f"--cpus-per-worker must be above {above:.3g} and leave something for reading, with {share} worker(s) a node, not {reserved:g}"
        )
    if skip_training and mock_model is not None:
        raise UserError("--skip-training and --mock-model are two ways to do without training; give one of them")
    if assumed and (skip_training or mock_model is not None):
        raise UserError("--project needs training to be measured; leave --skip-training and --mock-model out")
    if mock_model is not None and mock_model < 0:
        raise UserError(f"--mock-model must be 0 or more, not {mock_model:g}")
    for name, least in (("network", 1e-3), ("latency", 0), ("cohort", 1), ("epochs", 1), ("price", 0)):
        if assumed.get(name) is not None and assumed[name] < least:
            raise UserError(f"--{name} must be {least:g} or more, not {assumed[name]:g}")


def notes(load: float, cores: int, spread: dict[int, int], quick: bool) -> list[str]:
    """Return notes that a reader of the figures needs, of a sentence or two each.

    Args:
        load: the machine's average load in the minute before.
        cores: the number of this machine's cores that were used.
        spread: see `spread_over`.
        quick: whether sizes were tiny.
    """
    sentences = []
    if quick:
        sentences.append("Tiny sizes (--quick): the figures mean nothing.")
    if not os.environ.get("RAY_ADDRESS"):
        if all(count == over for count, over in spread.items()):
            sentences.append(
                f"Every worker has a Ray node of its own on this machine, pinned to one of {cores} core(s)."
            )
        else:
            listed = ", ".join(f"{count} on {over}" for count, over in sorted(spread.items()))
            sentences.append(
                f"Workers share Ray nodes on this machine ({listed}); a node is pinned to one core per worker, of {cores}."
            )
        if max(spread) > cores:
            sentences.append(
                f"With more than {cores} workers, several share a core: their efficiency is bounded by it."
            )
    return [*sentences, *unquiet(load, cores)]

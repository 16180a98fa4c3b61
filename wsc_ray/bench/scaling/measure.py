"""Measuring every number of workers in rounds: each worker's times in each step, and the bytes that were spilled meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsc_ray.bench.rounds import rotations
from wsc_ray.bench.scaling.figures import Figures, Row, Setting, figures
from wsc_ray.bench.scaling.plan import recipe_of, with_strong_base
from wsc_ray.bench.scaling.ray_nodes import ray_nodes, spilled_bytes
from wsc_ray.bench.scaling.ray_work import receive, train


@dataclass
class Record:
    """The measurements of a setting over all rounds.

    Attributes:
        rows: a row for each worker and step; `run` is the round.
        spilled: for each round, the bytes that the object stores wrote to disk; None if they are not known.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    spilled: list[float | None] = field(default_factory=list)


def measure_rounds(
    settings: dict[str, Any],
    plans: Sequence[Setting],
    spread: Mapping[int, int],
    data: str,
    folder: Path,
    mock_model: float | None,
    advance: Callable[[Setting], None],
) -> dict[Setting, Record]:
    """Measure every setting once per round; over the rounds each number of workers comes first in turn.

    Args:
        spread: the number of nodes for each number of workers.
        data: the manifest.
        folder: the folder for temporary run folders.
        mock_model: ms that a mock model takes for a step; None for none.
        advance: called with each setting after its measurement.
    """
    records = {setting: Record() for setting in plans}
    for turn, order in enumerate(rotations(settings["workers"], settings["rounds"])):
        for count in order:
            mine = [setting for setting in plans if setting.workers == count]
            with ray_nodes(spread[count], settings["cores"], cpus=count // spread[count]):
                for setting, rows, spilled in _measure(settings, mine, data, folder, mock_model):
                    records[setting].rows += [{**row, "run": turn} for row in rows]
                    records[setting].spilled.append(spilled)
                    advance(setting)
    return records


def _measure(
    settings: dict[str, Any], plans: Sequence[Setting], data: str, folder: Path, mock_model: float | None
) -> Iterator[tuple[Setting, Sequence[Row], float | None]]:
    """Yield each setting, its rows, and the bytes that were spilled meanwhile; needs a Ray session."""
    for setting in plans:
        before = spilled_bytes()
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            recipe = recipe_of(settings, setting, data, Path(temporary))
            if setting.work == "training":
                rows = train(recipe, Path(temporary) / "run")
            else:
                rows = receive(recipe, setting.workers, (mock_model or 0.0) / 1000)
        after = spilled_bytes()
        yield setting, rows, None if before is None or after is None else after - before


def figures_of(records: Mapping[Setting, Record], settings: dict[str, Any]) -> list[Figures]:
    """Return the figures of every setting, with the bases of strong scaling."""
    counted = range(settings["warm_up"], settings["warm_up"] + settings["steps"])
    measured = [figures(setting, record.rows, counted, _sum(record.spilled)) for setting, record in records.items()]
    return with_strong_base(measured)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if len(known) == len(values) else None

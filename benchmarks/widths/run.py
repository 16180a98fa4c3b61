"""Trainings by method, width and held-out stain groups; each is one file in `OUT/runs`, so that an interrupted run can go on.

Only the pool's part `train` is used. Two of its stain groups are held out at a time: pseudo-slides of the others train encoders and
heads, and the held-out groups' patches and slides judge them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command_line import claim
from benchmarks.evidence.adapters import train_adapter
from benchmarks.evidence.embedding import embed_pool
from benchmarks.evidence.measure import ABMIL, HEADS, distance_auroc, fit, linear_auroc
from benchmarks.evidence.pool import GROUPS, HELD, Slides, draw_apart, draw_sharing, read_pool
from benchmarks.evidence.setting import Setting
from benchmarks.tasks import task_processes
from wsc_ray.files import read_json, write_json

FRACTION = 0.1  # of a positive slide's patches are tumour
FROZEN = "frozen"
SETTINGS = {
    "weaksupcon": Setting("weaksupcon", weight=1.0, rise=1 / 2),
    "simclr": Setting("simclr"),
    "supcon": Setting("supcon", temperature=0.5),  # at the others' temperature its features become one point
}
MEASURES = ("linear", "distance", "abmil")
STOP_EVERY = 8  # of training slides, every so many pairs decide when a head stops


@dataclass(frozen=True)
class Options:
    """The options of a run; a folder holds one.

    Attributes:
        widths: numbers that an adapter gives a patch.
        seeds: trainings of each method at each width, for each pair of held-out groups.
        steps, batch_size: of a training.
        heads: fits of ABMIL to each training's features.
        pairs: number of negative slides to train on, and of positive ones.
        held_pairs: likewise, to judge with.
        views: stored views of a patch.
    """

    widths: tuple[int, ...] = (2, 8, 32, 128)
    seeds: int = 2
    steps: int = 600
    batch_size: int = 256
    heads: int = 3
    pairs: int = 60
    held_pairs: int = 200
    views: int = 8


QUICK = Options(widths=(2,), seeds=1, steps=4, batch_size=16, heads=1, pairs=9, held_pairs=10, views=2)


@dataclass(frozen=True)
class Task:
    """A training, or the frozen features (width None), and what is measured of them.

    Attributes:
        held: index into `HELD`.
    """

    method: str
    width: int | None
    held: int
    seed: int

    @property
    def name(self) -> str:
        """The name of the task's file."""
        return f"{self.method}-{self.width or 'all'}-{self.held}-{self.seed}.json"


class Measured:
    """The data of a run, in one process."""

    def __init__(self, out: Path, pool_file: Path, weights: Path, options: Options):
        self.out, self.options = out, options
        self.pool, table = read_pool(pool_file)
        trained = np.flatnonzero(np.isin(self.pool.group, GROUPS))
        self.features = embed_pool(
            out / "pool", table, self.pool, weights, trained=trained, seen=trained[:0], views=options.views
        )

    def run(self, task: Task) -> None:
        """Do a task, and write its file."""
        held, options = HELD[task.held], self.options
        slides = draw_apart(
            self.pool, tuple(group for group in GROUPS if group not in held), options.pairs, FRACTION, seed=1
        )
        stops = np.repeat(np.arange(options.pairs) % STOP_EVERY == 0, 2)
        train, stop = Slides(slides.rows[~stops]), Slides(slides.rows[stops])
        if task.width is None:
            features = torch.from_numpy(self.features.plain)
        else:
            setting = Setting(**{**asdict(SETTINGS[task.method]), "steps": options.steps, "width": task.width})
            trained = train_adapter(setting, slides, self.features, seed=task.seed, batch_size=options.batch_size)
            features = trained(self.features.plain)
        judged = draw_sharing(self.pool, held, options.held_pairs, FRACTION, seed=3)
        rows = np.flatnonzero(np.isin(self.pool.group, held))
        seeds = range(1000 * task.seed, 1000 * task.seed + options.heads)
        heads = [fit(features, train, stop, seed, HEADS[ABMIL]).auroc(judged) for seed in seeds]
        found = {
            "linear": linear_auroc(features, slides, self.pool, rows),
            "distance": distance_auroc(features, slides, self.pool, rows),
            "abmil": float(np.mean(heads)),
        }
        write_json(self.out / "runs" / task.name, {**asdict(task), **found})


def tasks_of(options: Options) -> Iterator[Task]:
    """Yield every task; the frozen features have no training that could be repeated."""
    for held in range(len(HELD)):
        yield Task(FROZEN, None, held, 0)
        for width in options.widths:
            for method in SETTINGS:
                for seed in range(options.seeds):
                    yield Task(method, width, held, seed)


def carry_out(out: Path, pool_file: Path, weights: Path, options: Options, processes: int) -> list[dict[str, Any]]:
    """Do every task that is not done yet, and return the results of all.

    Args:
        out: a new folder, or one that holds the same run.
        processes: number of processes that train at a time.

    Raises:
        RunFolderError: the folder holds a run of other options.
        DataError: the pool cannot be used.
    """
    claim(out, "a run", asdict(options))
    (out / "runs").mkdir(exist_ok=True)
    Measured(out, pool_file, weights, options)  # embeds the pool
    every = list(tasks_of(options))
    given = (out, pool_file, weights, options)
    with task_processes(Measured, *given, folder=out / "runs", processes=processes) as do:
        do(every)
    return [read_json(out / "runs" / task.name) for task in every]


def cell(results: Sequence[dict[str, Any]], method: str, width: int | None, measure: str) -> list[float]:
    """Return a measure of every training of a method at a width, by held-out groups and seed."""
    return [found[measure] for found in results if (found["method"], found["width"]) == (method, width)]

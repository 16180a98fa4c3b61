"""The study: settings are chosen on the pool's part `train` and written down; then `valid` is opened once.

Each training, with its measurements, is one file in `OUT/runs`, so that an interrupted study can go on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command_line import claim
from benchmarks.evidence.adapters import Setting, train_adapter
from benchmarks.evidence.embedding import Features, embed_pool, used_rows
from benchmarks.evidence.measure import ABMIL, HEADS, Head, distance_auroc, fit, knn_auroc, linear_auroc
from benchmarks.evidence.pool import CHOOSE, FIT, TEST, Slides, draw_apart, draw_sharing, read_pool
from benchmarks.tasks import task_processes
from wsc_ray.bench.environment import usable_cores
from wsc_ray.files import read_json, write_json

FROZEN = "frozen"
ARMS = (FROZEN, "supcon", "simclr", "weaksupcon")
CANDIDATES = {  # the same number for each arm
    "supcon": [Setting("supcon", temperature=t) for t in (0.1, 0.2, 0.5)],
    "simclr": [Setting("simclr", temperature=t) for t in (0.1, 0.2, 0.5)],
    # the last is the default of recipes
    "weaksupcon": [Setting("weaksupcon", weight=w, rise=r) for w, r in ((0.1, 1 / 3), (1.0, 1 / 2), (1.0, None))],
}
PATCH_MEASURES = {"linear": linear_auroc, "kNN": knn_auroc, "distance": distance_auroc}
CHOSEN_AT = 0.1  # tumour share at which settings are chosen
CHOOSING_SEED = 100


@dataclass(frozen=True)
class Options:
    """The options of a study; a folder holds one study.

    Attributes:
        fractions: shares of tumour in positive slides.
        seeds: number of trainings of each arm at each share.
        heads: number of fits of each head to each training's features.
        pairs: number of negative slides to train on, and of positive ones.
        test_pairs: likewise, to test on.
        choosing: number of trainings of each candidate.
        resamples: number of bootstrap samples of the test patches.
        batch_size: patches per step.
        steps: steps of a training.
        views: stored views of a patch.
    """

    fractions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    seeds: int = 5
    heads: int = 5
    choosing: int = 2
    pairs: int = 60
    test_pairs: int = 200
    resamples: int = 200
    batch_size: int = 256
    steps: int = 600
    views: int = 8


QUICK = Options(
    fractions=(0.1,), seeds=1, heads=1, choosing=1, pairs=6, test_pairs=10, resamples=3, batch_size=16, steps=4, views=2
)


@dataclass(frozen=True)
class Task:
    """A training (none for the frozen features) and the heads that are fitted to its features.

    Attributes:
        chooses: whether it is measured on the slides that choose settings, instead of the test slides.
    """

    arm: str
    fraction: float
    seed: int
    setting: Setting | None
    chooses: bool
    heads: int

    @property
    def name(self) -> str:
        """The name of the task's file."""
        how = ""
        if self.chooses and self.setting is not None:
            rise = "progress" if self.setting.rise is None else f"{self.setting.rise:g}"
            how = f"-{self.setting.temperature:g}-{self.setting.weight:g}-{rise}"
        return f"{'choose' if self.chooses else 'test'}-{self.fraction:g}-{self.arm}{how}-{self.seed}.json"


class Study:
    """The data of a study, in one process."""

    def __init__(self, out: Path, pool_file: Path, weights: Path, options: Options):
        self.out, self.options = out, options
        self.pool, table = read_pool(pool_file)
        train = [self.fit_slides(fraction).rows for fraction in options.fractions]
        trained = used_rows(train)
        others = np.flatnonzero(np.isin(self.pool.group, (*CHOOSE, *TEST)))
        self.features: Features = embed_pool(
            out / "pool", table, self.pool, weights, trained=trained, seen=others, views=options.views
        )

    def fit_slides(self, fraction: float) -> Slides:
        """Return the slides that encoders and heads are trained on."""
        return draw_apart(self.pool, FIT, self.options.pairs, fraction, seed=1)

    def run(self, task: Task) -> None:
        """Do a task, and write its file."""
        started = time.monotonic()
        train, fraction = self.fit_slides(task.fraction), task.fraction
        stop = draw_sharing(self.pool, CHOOSE, 50, fraction, seed=2)
        found: dict[str, Any] = {**asdict(task)}
        if task.setting is None:
            features = torch.from_numpy(self.features.plain)
        else:
            size = self.options.batch_size
            trained = train_adapter(task.setting, train, self.features, seed=task.seed, batch_size=size)
            features, found["last"] = trained(self.features.plain), trained.last

        def heads(name: str) -> list[Head]:
            seeds = range(1000 * task.seed, 1000 * task.seed + task.heads)
            return [fit(features, train, stop, seed, HEADS[name]) for seed in seeds]

        if task.chooses:
            held = draw_sharing(self.pool, CHOOSE, 100, fraction, seed=3)
            found["auroc"] = [head.auroc(held) for head in heads(ABMIL)]
        else:
            rows = np.flatnonzero(np.isin(self.pool.group, TEST))
            found["patches"] = {
                name: measure(features, train, self.pool, rows) for name, measure in PATCH_MEASURES.items()
            }
            found["heads"] = {name: self.measured(heads(name), fraction) for name in HEADS}
        found["seconds"] = time.monotonic() - started
        write_json(self.out / "runs" / task.name, found)

    def measured(self, heads: Sequence[Head], fraction: float) -> dict[str, list[Any]]:
        """Return the measures of a head's fits on the test slides: name -> one value per fit."""
        held = draw_sharing(self.pool, TEST, self.options.test_pairs, fraction, seed=4)
        again = [
            draw_sharing(self.pool, TEST, self.options.test_pairs, fraction, seed=5000 + number, resample=True)
            for number in range(self.options.resamples)
        ]
        return {
            "auroc": [head.auroc(held) for head in heads],
            "balanced_accuracy": [head.balanced_accuracy(held) for head in heads],
            "attention": [head.attention_auroc(held, self.pool) for head in heads],
            "resampled": [[head.auroc(slides) for slides in again] for head in heads],
        }


def carry_out(
    out: Path, pool_file: Path, weights: Path, options: Options, processes: int | None = None
) -> dict[str, Any]:
    """Carry out the whole study.

    Args:
        out: a new folder, or one that holds the same study.
        processes: number of processes that train at a time.

    Returns:
        `chosen`, the setting of each arm with the figures of its candidates, and `results`, the results of every test task.

    Raises:
        RunFolderError: the folder holds a study of other options.
        DataError: the pool cannot be used.
    """
    claim(out, "a study", asdict(options))
    (out / "runs").mkdir(exist_ok=True)
    Study(out, pool_file, weights, options)  # embeds the pool
    given = (out, pool_file, weights, options)
    with task_processes(Study, *given, folder=out / "runs", processes=processes or usable_cores()) as do:
        choosing = [
            Task(arm, CHOSEN_AT, seed, _with_steps(setting, options), True, 1)
            for arm, settings in CANDIDATES.items()
            for setting in settings
            for seed in range(CHOOSING_SEED, CHOOSING_SEED + options.choosing)
        ]
        do(choosing)
        chosen = _choose(out, choosing)
        write_json(out / "chosen.json", chosen)  # before anything is measured on the test's patches
        tasks = [
            Task(
                arm, fraction, seed, None if arm == FROZEN else Setting(**chosen[arm]["setting"]), False, options.heads
            )
            for fraction in options.fractions
            for seed in range(options.seeds)
            for arm in ARMS
        ]
        do(tasks)
    return {"chosen": chosen, "results": [read_json(out / "runs" / task.name) for task in tasks]}


def _with_steps(setting: Setting, options: Options) -> Setting:
    return Setting(**{**asdict(setting), "steps": options.steps})


def _choose(out: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the best setting of each arm on the slides that choose, with the figures of all its candidates."""
    scores: dict[str, dict[Setting, list[float]]] = {}
    for task in tasks:
        assert task.setting is not None  # candidates are trainings
        own = scores.setdefault(task.arm, {}).setdefault(task.setting, [])
        own.extend(read_json(out / "runs" / task.name)["auroc"])
    return {
        arm: {
            "setting": asdict(max(found, key=lambda setting: float(np.mean(found[setting])))),
            "candidates": [[str(setting), [round(score, 4) for score in own]] for setting, own in found.items()],
        }
        for arm, found in scores.items()
    }

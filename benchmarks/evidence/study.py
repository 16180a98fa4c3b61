"""The study: settings are chosen on held-out stain groups of the pool's part `train` and written down; then `valid` is opened.

Each training, with its measurements, is one file in `OUT/runs`, so that an interrupted study can go on, and can be given further shares
of tumour and trainings. The encoders that are tested are in `OUT/encoders`, as `wsc-ray pretrain` exports them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command_line import claim
from benchmarks.evidence.kind import Kind
from benchmarks.evidence.measure import ABMIL, HEADS, Head, distance_auroc, fit, knn_auroc, linear_auroc
from benchmarks.evidence.options import MOST, WHICH, Options
from benchmarks.evidence.pool import (
    GROUPS,
    HELD,
    TEST,
    Slides,
    draw_apart,
    draw_sharing,
    of_groups,
    read_pool,
    spare_patches,
)
from benchmarks.evidence.setting import Setting
from benchmarks.tasks import task_processes
from wsc_ray.bench.environment import usable_cores
from wsc_ray.files import read_json, write_json

FROZEN = "frozen"
ARMS = (FROZEN, "supcon", "simclr", "weaksupcon")
PATCH_MEASURES = {"linear": linear_auroc, "kNN": knn_auroc, "distance": distance_auroc}
CHOSEN_AT = 0.1  # tumour share at which settings are chosen
CHOOSING_SEED = 100
STOP_PAIRS = 24


@dataclass(frozen=True)
class Task:
    """A training (none for the frozen features) and the heads that are fitted to its features.

    Attributes:
        held: index into `HELD`, of the stain groups that judge a candidate; None for a training that is tested on `valid`.
    """

    arm: str
    fraction: float
    seed: int
    setting: Setting | None
    held: int | None
    heads: int

    @property
    def name(self) -> str:
        """The name of the task's file."""
        words = ["test" if self.held is None else "choose", f"{self.fraction:g}", self.arm]
        words += [] if self.setting is None else [self.setting.slug]
        words += [] if self.held is None else [str(self.held)]
        return "-".join([*words, f"{self.seed}.json"])


class Study:
    """The data of a study, in one process.

    Args:
        opened: whether the patches of `valid` are embedded too.
    """

    def __init__(self, kind: Kind, out: Path, pool_file: Path, weights: Path, options: Options, opened: bool):
        self.out, self.options = out, options
        self.pool, table = read_pool(pool_file)
        trained, seen = (of_groups(self.pool, groups) for groups in (GROUPS, TEST if opened else ()))
        self.trainer = kind.trainer(out / "pool", table, self.pool, weights, options, trained=trained, seen=seen)

    def slides(self, fraction: float, held: Sequence[str] = ()) -> tuple[Slides, Slides]:
        """Return the slides that train encoders and heads, and those that stop heads, none of held-out stain groups."""
        every = {
            share: draw_apart(self.pool, GROUPS, self.options.pairs, share, seed=1, most=MOST)
            for share in (0.0, fraction, MOST)
        }
        spare = spare_patches(self.pool, GROUPS, [every[0.0], every[MOST]], MOST)
        groups = tuple(group for group in GROUPS if group not in held)
        rows = every[fraction].rows
        return (
            Slides(rows[np.isin(self.pool.group[rows[:, 0]], groups)]),
            draw_sharing(spare, groups, STOP_PAIRS, fraction, seed=2),
        )

    def run(self, task: Task) -> None:
        """Do a task, and write its file."""
        started = time.monotonic()
        held = () if task.held is None else HELD[task.held]
        train, stop = self.slides(task.fraction, held)
        found: dict[str, Any] = {**asdict(task)}
        if task.setting is None:
            features = self.trainer.frozen
        else:
            encoder = self.out / "encoders" / f"{task.fraction:g}-{task.arm}-{task.seed}"
            features, found["last"] = self.trainer.train(
                task.setting, train, seed=task.seed, export=encoder if task.held is None else None
            )

        def heads(name: str) -> list[Head]:
            seeds = range(1000 * task.seed, 1000 * task.seed + task.heads)
            return [fit(features, train, stop, seed, HEADS[name]) for seed in seeds]

        if task.held is not None:
            judged = draw_sharing(self.pool, held, self.options.test_pairs, task.fraction, seed=3)
            found["auroc"] = [head.auroc(judged) for head in heads(ABMIL)]
        else:
            rows = of_groups(self.pool, TEST)
            found["patches"] = {
                name: measure(features, train, self.pool, rows) for name, measure in PATCH_MEASURES.items()
            }
            found["heads"] = self.measured({name: heads(name) for name in HEADS}, task.fraction)
        found["seconds"] = time.monotonic() - started
        write_json(self.out / "runs" / task.name, found)

    def measured(self, heads: Mapping[str, Sequence[Head]], fraction: float) -> dict[str, dict[str, list[Any]]]:
        """Return the measures of each head's fits on the test slides: head -> measure -> one value per fit."""
        pairs = self.options.test_pairs
        test = draw_sharing(self.pool, TEST, pairs, fraction, seed=4)
        again = [
            draw_sharing(self.pool, TEST, pairs, fraction, seed=5000 + number, resample=True)
            for number in range(self.options.resamples)
        ]
        return {
            name: {
                "auroc": [head.auroc(test) for head in fits],
                "balanced_accuracy": [head.balanced_accuracy(test) for head in fits],
                "attention": [head.attention_auroc(test, self.pool) for head in fits],
                "resampled": [[head.auroc(slides) for slides in again] for head in fits],
            }
            for name, fits in heads.items()
        }


def candidate_tasks(candidates: Mapping[str, Sequence[Setting]], options: Options) -> list[Task]:
    """Return the trainings by which settings are chosen; an arm with one candidate needs none."""
    return [
        Task(arm, CHOSEN_AT, seed, replace(setting, steps=options.steps), held, options.choosing_heads)
        for held in range(options.folds)
        for seed in range(CHOOSING_SEED, CHOOSING_SEED + options.choosing)
        for arm, settings in candidates.items()
        for setting in settings
        if len(settings) > 1
    ]


def final_tasks(options: Options, chosen: Mapping[str, Any]) -> list[Task]:
    """Return the trainings that are tested, in the order of the fractions; the frozen features have no training that could be repeated."""
    return [
        Task(arm, fraction, seed, None if arm == FROZEN else Setting(**chosen[arm]["setting"]), None, options.heads)
        for fraction in options.fractions
        for seed in range(options.seeds)
        for arm in ARMS
        if arm != FROZEN or seed == 0
    ]


def carry_out(
    kind: Kind, out: Path, pool_file: Path, weights: Path, options: Options, processes: int | None = None
) -> dict[str, Any]:
    """Carry out the whole study.

    Args:
        out: a new folder, or one that holds the same study, perhaps of other fractions and numbers of trainings and folds.
        processes: number of processes that train at a time.

    Returns:
        `chosen`, the setting of each arm and, where there were several, the figures of its candidates, `results`, the results of every test task, and `seconds`, the sum
        over tasks.

    Raises:
        RunFolderError: the folder holds a study of other options.
        DataError: the pool cannot be used.
    """
    claim(out, "a study", {name: value for name, value in asdict(options).items() if name not in WHICH})
    runs = out / "runs"
    runs.mkdir(exist_ok=True)

    def do(tasks: Sequence[Task], opened: bool) -> list[dict[str, Any]]:
        given = (kind, out, pool_file, weights, options, opened)
        Study(*given)  # makes what its trainer keeps
        with task_processes(Study, *given, folder=runs, processes=processes or usable_cores()) as do_all:
            do_all(tasks)
        return [read_json(runs / task.name) for task in tasks]

    tasks = candidate_tasks(kind.candidates, options)
    choosing = do(tasks, opened=False) if tasks else []
    only = {arm: settings[0] for arm, settings in kind.candidates.items() if len(settings) == 1}
    chosen = {
        **{arm: {"setting": {**asdict(setting), "steps": options.steps}} for arm, setting in only.items()},
        **choose(tasks, choosing),
    }
    write_json(out / "chosen.json", chosen)  # before a patch of the test is read
    results = do(final_tasks(options, chosen), opened=True)
    return {
        "chosen": chosen,
        "results": results,
        "seconds": sum(found["seconds"] for found in (*choosing, *results)),
    }


def choose(tasks: Sequence[Task], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the setting of each arm with the best mean over held-out groups and seeds, with the figures of all its candidates."""
    scores: dict[str, dict[Setting, list[float]]] = {}
    for task, found in zip(tasks, results, strict=True):
        assert task.setting is not None  # candidates are trainings
        scores.setdefault(task.arm, {}).setdefault(task.setting, []).append(float(np.mean(found["auroc"])))
    return {
        arm: {
            "setting": asdict(max(found, key=lambda setting: float(np.mean(found[setting])))),
            "candidates": [[str(setting), [round(score, 4) for score in own]] for setting, own in found.items()],
        }
        for arm, found in scores.items()
    }

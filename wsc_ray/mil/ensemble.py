"""The members of a tuned head: one fit per seed, and with folds such a set for each fold.

MIL/members/<name>/    `model.safetensors` and `config.json`; the latter holds `seed`, with folds `fold`, and `val_slides`,
                       the ids of the validation slides, on which fitting was stopped and the setting chosen

All members of a search share the chosen setting, the training slides and the validation slides. They differ in their seed, which
determines the starting weights, the order of slides and dropout. Member 0 is the chosen trial's own head. A prediction is the
mean of the members' probabilities; with folds, of those members that never saw the slide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsc_ray import random
from wsc_ray.errors import RunFolderError, WeightsError
from wsc_ray.files import read_summary
from wsc_ray.mil.fit import Fit
from wsc_ray.mil.head import PackedHead, load_head, save_head
from wsc_ray.mil.task import Task
from wsc_ray.mil.trials import Trial, head_of_trial
from wsc_ray.run_folder import IDENTITY
from wsc_ray.storage import AnyPath

MEMBERS = "members"
_STREAM = 0x5EED  # keeps these random numbers apart from those that draw settings


@dataclass(frozen=True)
class Member:
    """One fitted head. `fold` is the fold that was held out from its fit; None if that was the cohort's test split."""

    name: str
    seed: int
    fold: str | None
    head: PackedHead
    config: dict[str, Any]


def load_members(folder: AnyPath) -> list[Member]:
    """Return all members in a folder of `tune`, sorted by name; a folder with a single head (older searches) gives one member.

    Raises:
        RunFolderError: the folder holds no head, or a search that is not complete.
        WeightsError: a head cannot be read.
    """
    if (folder / IDENTITY).is_file() and read_summary(folder) is None:
        raise RunFolderError(f"the search in {folder} is not complete; type its `wsc-ray tune` again")
    members = folder / MEMBERS
    names = sorted(path.name for path in members.iterdir()) if members.is_dir() else []
    places = [(name, members / name) for name in names] or [("head", folder)]
    loaded = [(name, *load_head(place)) for name, place in places]
    return [Member(name, int(config.get("seed", 0)), config.get("fold"), head, config) for name, head, config in loaded]


def member_name(task: Task, number: int) -> str:
    """Return the member's name: `seed-0`, or with folds `fold-<fold>-seed-0`."""
    return f"{task.prefix}seed-{number}"


def member_folder(task: Task, number: int) -> AnyPath:
    """Return the folder of a member's head."""
    return task.root / MEMBERS / member_name(task, number)


def member_seed(seed: int, number: int) -> int:
    """Return the seed of a member's fit.

    Member 0 has the recipe's seed, as every trial. The others have a random number that depends on the recipe's seed and theirs, so
    that recipes with neighbouring seeds share no member.
    """
    return seed if number == 0 else int(random.raw(1, seed, _STREAM, number)[0] >> 33)


def read_scores(task: Task, number: int, best: Trial) -> dict[str, float] | None:
    """Return a member's scores on the validation slides; None if it is missing, damaged, or was fitted with another setting."""
    try:
        _, config = load_head(member_folder(task, number))
    except (RunFolderError, WeightsError):
        return None
    return config["val"] if config.get("setting") == best.described else None


def write_member(task: Task, number: int, best: Trial, fit: Fit, about: Mapping[str, Any]) -> None:
    """Write a fit of the chosen setting as a member.

    Args:
        about: further entries of its `config.json`: validation slides, encoder and versions.
    """
    _save(task, number, best, fit.head, fit.scores, about)


def keep_chosen(task: Task, best: Trial, about: Mapping[str, Any]) -> None:
    """Write the chosen trial's head as member 0."""
    _save(task, 0, best, head_of_trial(task.out, best.number), best.scores, about)


def _save(
    task: Task, number: int, best: Trial, head: PackedHead, scores: Mapping[str, float], about: Mapping[str, Any]
) -> None:
    fold = {} if task.fold is None else {"fold": task.fold}
    seeds = {"seed": number, "fit_seed": member_seed(task.seed, number)}
    how = {"trial": best.name, "setting": best.described, "val": dict(scores)}
    save_head(member_folder(task, number), head, best.setting, task.classes, {**fold, **seeds, **how, **about})

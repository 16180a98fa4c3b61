"""The members of a tuned head: one fit a seed, and with folds a set of them for each fold.

MIL/members/<name>/    `model.safetensors` and `config.json`; the latter says `seed`, and `fold` where there are folds

A prediction is the mean of the members' probabilities; with folds, of the members that never saw the slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsc_ray.mil.head import PackedHead, load_head
from wsc_ray.storage import AnyPath

MEMBERS = "members"


@dataclass(frozen=True)
class Member:
    """One fitted head. `fold` is the fold that was held out from it; None: the cohort's test split."""

    name: str
    seed: int
    fold: str | None
    head: PackedHead
    config: dict[str, Any]


def load_members(folder: AnyPath) -> list[Member]:
    """All members in a folder of `tune`, by name; a folder with a single head (older searches) is one member.

    Raises:
        RunFolderError: the folder holds no head.
        WeightsError: a head that cannot be read.
    """
    members = folder / MEMBERS
    names = sorted(path.name for path in members.iterdir()) if members.is_dir() else []
    places = [(name, members / name) for name in names] or [("head", folder)]
    loaded = [(name, *load_head(place)) for name, place in places]
    return [Member(name, int(config.get("seed", 0)), config.get("fold"), head, config) for name, head, config in loaded]

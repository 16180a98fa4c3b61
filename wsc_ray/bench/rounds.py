"""Rounds in which everybody has a turn, so that whatever else the machine does meanwhile meets all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Name = TypeVar("Name")


def rotations(names: Sequence[Name], rounds: int) -> list[list[Name]]:
    """Return the order of each round; over the rounds every name has every position in turn."""
    return [[names[(shift + i) % len(names)] for i in range(len(names))] for shift in range(rounds)]

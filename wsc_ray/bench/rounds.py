"""Rounds in which everybody has a turn, so that whatever else the machine does meanwhile meets all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Name = TypeVar("Name")


def rotations(names: Sequence[Name], rounds: int) -> list[list[Name]]:
    """The order of each round: everybody goes first, last and after everybody else in turn."""
    return [[names[(shift + i) % len(names)] for i in range(len(names))] for shift in range(rounds)]

"""The sizes of the slides and of a round: those of the published figures, and tiny ones to check that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Of the drawn slides, and of a round of each contender.

    Args:
        slides, side: number of drawn slides, and their side in px.
        patch: side of a patch, px of level 0.
        window: steps of a window of ours.
        waves: windows of each reader that count in a round; one before them and one after do not.
    """

    slides: int
    side: int
    patch: int
    window: int
    waves: int


FULL = Sizes(slides=48, side=5760, patch=224, window=16, waves=1)
QUICK = Sizes(slides=4, side=960, patch=64, window=4, waves=1)

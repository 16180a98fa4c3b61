"""The content of a slide's card on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PatchView:
    """A patch: its picture, its corner in level-0 px, its attention as a multiple of an even share, and its label."""

    picture: str
    x: int
    y: int
    times: str
    label: str | None


@dataclass(frozen=True)
class Seen:
    """A slide as one result sees it.

    Attributes:
        right: whether the prediction is right; None if the label is unknown.
        spread: how sure the prediction is, if `predict` made it; else "".
        note: what `predict` remarks on the slide.
    """

    run: str
    predicted: str
    probability: str
    right: bool | None
    map: str | None
    told: str
    top: Sequence[PatchView]
    bottom: Sequence[PatchView]
    spread: str = ""
    note: str = ""


@dataclass(frozen=True)
class Cut:
    """A slide as it was cut into patches once, and the views of the results that are based on these patches.

    Attributes:
        patches: number of patches.
        thumbnail: the part of the slide that the maps show; None without pixels.
        made_of: source of the thumbnail.
        size: width and height of the thumbnail and of each map, px.
        seen: the slide as seen by each result of these patches.
    """

    patches: int
    thumbnail: str | None
    made_of: str
    size: tuple[int, int]
    seen: Sequence[Seen]


@dataclass(frozen=True)
class Card:
    """A slide with what every result says of it; results of different manifests have cuts of their own."""

    slide: str
    patient: str | None
    label: str | None
    site: str | None
    cuts: Sequence[Cut]

    @property
    def patches(self) -> int | None:
        """The number of patches; None where the cuts have different ones."""
        counts = {each.patches for each in self.cuts}
        return counts.pop() if len(counts) == 1 else None

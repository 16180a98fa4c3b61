"""How much is drawn, read and trained: the sizes that the figures stand for, and tiny ones to see that all runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Of the drawn manifest, of a round of each contender, and of the training.

    The system counts CPU time in hundredths of a second, so that no contender's round may be much shorter.

    Args:
        slides, per_slide, patch: drawn slides of the training split, patches of each, their side in px.
        copies: how many times the manifest holds each of them, as slides of other names: in a manifest of few row
            groups a window would read all of them, and no row in vain.
        view: side of a view, px.
        window: steps of a window of ours.
        waves: windows of each reader that count in a round; through Ray, one before them and one after do not.
        batches: that each worker of the reference makes in a round, after one that is left out.
        decoded: images that each process decodes in a round.
        backbone, crop, steps, train_batch: of the training.
        warm_up: its first steps, which are left out.
        plan_rows, plan_files: of the manifest whose planning is measured.
    """

    slides: int
    per_slide: int
    patch: int
    copies: int
    view: int
    window: int
    waves: int
    batches: int
    decoded: int
    backbone: str
    crop: int
    train_batch: int
    steps: int
    warm_up: int
    plan_rows: int
    plan_files: int


FULL = Sizes(
    slides=64,
    per_slide=64,
    patch=224,
    copies=8,
    view=224,
    window=16,
    waves=1,
    batches=2,
    decoded=8192,
    backbone="resnet18",
    crop=96,
    train_batch=64,
    steps=40,
    warm_up=10,
    plan_rows=10_000_000,
    plan_files=200,
)
QUICK = Sizes(
    slides=4,
    per_slide=16,
    patch=32,
    copies=1,
    view=32,
    window=16,
    waves=1,
    batches=1,
    decoded=8192,
    backbone="test_resnet",
    crop=32,
    train_batch=16,
    steps=3,
    warm_up=1,
    plan_rows=20_000,
    plan_files=4,
)

"""The sizes of the data and of the training: those of the published figures, and tiny ones to check that everything works."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from wsc_ray.bench import patches


@dataclass(frozen=True)
class Sizes(patches.DrawnSizes):
    """Of the drawn manifest, of a round of each contender, and of the training.

    The system counts CPU time in hundredths of a second, so that no contender's round may be much shorter.

    Args:
        view: side of a view, px.
        window: steps of a window of ours.
        waves: windows of each reader that count in a round; through Ray, one before them and one after do not.
        batches: that each worker of the reference makes in a round, after one that is left out.
        decoded: images that each process decodes in a round.
        backbone, crop, steps, train_batch: of the training.
        warm_up: its first steps, which are left out.
        plan_rows, plan_files: of the manifest whose planning is measured.
    """

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
    **asdict(patches.FULL),
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
    **asdict(patches.QUICK),
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

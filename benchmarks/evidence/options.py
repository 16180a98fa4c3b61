"""The options of a study."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.evidence.pool import HELD

MOST = 0.4  # the largest share of tumour; all shares have the same slides, but for the tumour


@dataclass(frozen=True)
class Options:
    """The options of a study.

    A folder holds one study; those options that only say which trainings there are (`WHICH`) may change.

    Attributes:
        fractions: shares of tumour in positive slides.
        seeds: number of trainings of each arm at each share.
        heads: number of fits of each head to each training's features.
        pairs: number of negative slides to train on, and of positive ones.
        test_pairs: likewise, to test on, and to judge candidates on.
        choosing: number of trainings of each candidate for each pair of held-out stain groups.
        folds: how many pairs of `HELD` are held out in turn.
        choosing_heads: number of fits of ABMIL to each of these.
        resamples: number of bootstrap samples of the test patches.
        batch_size: patches per step.
        precision: precision of a training's forward passes.
        steps: steps of a training.
        views: stored views of a patch; 0 where every step draws new ones.
        pixels: side to which patches of 96 px are resized, or their views; px.
    """

    fractions: tuple[float, ...] = (0.1, 0.2, 0.05, 0.4)
    seeds: int = 5
    heads: int = 3
    choosing: int = 1
    folds: int = len(HELD)
    choosing_heads: int = 2
    pairs: int = 78
    test_pairs: int = 200
    resamples: int = 100
    batch_size: int = 512
    precision: str = "bf16"  # a third faster than fp32 on a CPU that has it
    steps: int = 600
    views: int = 8
    pixels: int = 64


WHICH = ("fractions", "seeds", "choosing", "folds")

OF_BACKBONES = Options(
    fractions=(0.1, 0.4),
    seeds=3,
    batch_size=128,
    precision="fp32",
    steps=150,
    views=0,
    pixels=48,
)

QUICK = Options(
    fractions=(0.1,),
    seeds=1,
    heads=1,
    choosing_heads=1,
    pairs=20,
    test_pairs=10,
    resamples=3,
    batch_size=16,
    steps=4,
    views=2,
)

"""The same head, loss and optimizer over the same bags: ours packed, and torchmil's with one bag at a time or padded.

Each contender is a function that takes one pass over the bags in random order. They differ in how bags form steps: packed
and padded take `BAGS_PER_STEP` bags per step; one bag at a time is how the field's scripts, and torchmil's examples, train.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import make_optimizer, train_epoch
from wsc_ray.mil.heads.abmil import AttentionMIL, AttentionSettings

FEATURES, HIDDEN, ATTENTION, DROPOUT, BAGS_PER_STEP = 512, 256, 128, 0.25, 8
LR, WEIGHT_DECAY = 1e-4, 1e-2
SETTING = AttentionSettings(
    lr=LR, weight_decay=WEIGHT_DECAY, dropout=DROPOUT, hidden=HIDDEN, attention=ATTENTION, gated=True
)
PACKED, SINGLE, PADDED = "packed", "torchmil, a bag a step", "torchmil, padded"


def make_bags(slides: int, low: int, high: int, seed: int = 0) -> Bags:
    """Random features in bags of `low` to `high` instances, labels in turn."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(low, high + 1, (slides,), generator=generator)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    total = int(offsets[-1])
    return Bags(
        features=torch.randn(total, FEATURES, generator=generator),
        offsets=offsets,
        labels=torch.arange(slides) % 2,
        coords=torch.zeros(total, 2, dtype=torch.int64),
        slide_ids=tuple(f"s{i}" for i in range(slides)),
        patient_ids=tuple(f"p{i}" for i in range(slides)),
    )


def contenders(bags: Bags) -> dict[str, Callable[[], None]]:
    """One pass over the bags, by contender.

    Raises:
        ImportError: torchmil is not installed.
    """
    return {PACKED: _packed(bags), SINGLE: _torchmil(bags, 1), PADDED: _torchmil(bags, BAGS_PER_STEP)}


def our_head() -> AttentionMIL:
    """Attention-MIL as a search fits it."""
    torch.manual_seed(0)
    return SETTING.build(FEATURES, 2)


def their_head() -> nn.Module:
    """torchmil's, with as many layers of the same widths."""
    from torchmil.models import ABMIL

    torch.manual_seed(0)
    embed = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT))
    return ABMIL(in_shape=(FEATURES,), att_dim=ATTENTION, gated=True, feat_ext=embed)


def _packed(bags: Bags) -> Callable[[], None]:
    head = our_head()
    optimizer = make_optimizer(head, SETTING)
    weights = torch.ones(2)

    def epoch() -> None:
        train_epoch(head, optimizer, bags, weights, BAGS_PER_STEP)

    return epoch


def _torchmil(bags: Bags, per_step: int) -> Callable[[], None]:
    head = their_head()
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    bounds, labels = bags.offsets.tolist(), bags.labels.float()
    slides = [bags.features[start:stop] for start, stop in itertools.pairwise(bounds)]

    def epoch() -> None:
        head.train()
        for chosen in torch.randperm(len(slides)).split(per_step):
            some = [slides[i] for i in chosen.tolist()]
            padded, mask = some[0][None], None  # (1, n, D)
            if per_step > 1:
                padded = nn.utils.rnn.pad_sequence(some, batch_first=True)  # (b, longest, D)
                lengths = torch.tensor([len(each) for each in some])
                mask = (torch.arange(padded.shape[1]) < lengths[:, None]).float()
            loss = head.criterion(head(padded, mask), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch

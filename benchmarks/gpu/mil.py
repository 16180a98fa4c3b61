"""Part `mil`: an epoch of an attention-MIL head over packed bags, compared with the usual loop of one bag at a time."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.part import open_part
from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import make_optimizer, train_epoch
from wsc_ray.mil.heads.abmil import AttentionMIL, AttentionSettings

FEATURES, BAGS_PER_STEP = 512, 16
SETTING = AttentionSettings(lr=1e-4, weight_decay=1e-2, dropout=0.25, hidden=256, attention=128, gated=True)


def main() -> int:
    part = open_part("mil")
    sizes = {"20-100": (20, 100), "20-500": (20, 500), "200-5000": (200, 5000)}
    slides = 8 if part.quick else 256
    rows: list[dict[str, Any]] = []
    for name, (low, high) in sizes.items():
        bags = (_bags(slides, 5, 50) if part.quick else _bags(slides, low, high)).to(part.device)
        packed, single = _head(part.device), _head(part.device)
        weights = torch.ones(2, device=part.device)
        optimizer = make_optimizer(packed, SETTING)
        row = {"instances": name, "slides": slides, "patches": len(bags.features)}
        row["packed_seconds"] = part.seconds(
            lambda b=bags, h=packed, o=optimizer, w=weights: train_epoch(h, o, b, w, BAGS_PER_STEP), rounds=5
        )
        other = torch.optim.AdamW(single.parameters(), lr=SETTING.lr, weight_decay=SETTING.weight_decay)
        row["single_seconds"] = part.seconds(lambda b=bags, h=single, o=other: _one_by_one(h, o, b), rounds=5)
        row["times"] = row["single_seconds"] / row["packed_seconds"]
        rows.append(row)
        part.write({"features": FEATURES, "bags_per_step": BAGS_PER_STEP, "rows": rows})
    return 0


def _head(device: torch.device) -> AttentionMIL:
    torch.manual_seed(0)
    return SETTING.build(FEATURES, 2).to(device)


def _bags(slides: int, low: int, high: int) -> Bags:
    generator = torch.Generator().manual_seed(0)
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


def _one_by_one(head: AttentionMIL, optimizer: torch.optim.Optimizer, bags: Bags) -> None:
    """An epoch in which every bag is a step, as the field's scripts train."""
    head.train()
    bounds = bags.offsets.tolist()
    for bag in torch.randperm(len(bags)).tolist():
        features = bags.features[bounds[bag] : bounds[bag + 1]]
        offsets = torch.tensor([0, len(features)], device=features.device)
        logits, _ = head(features, offsets)
        loss = nn.functional.cross_entropy(logits, bags.labels[bag : bag + 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    sys.exit(main())

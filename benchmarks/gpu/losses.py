"""Part `losses`: time and memory of WeakSupCon, forward and backward, over batches that training never reaches today.

Our loss is compared with the loss as its formula is written, with a full matrix, if that fits into memory.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.nn.functional import normalize

from benchmarks.gpu.part import open_part
from wsc_ray.losses import WeakSupConLoss

WIDTH, TEMPERATURE, BASE = 128, 0.1, 0.07


def main() -> int:
    part = open_part("losses")
    batches = (64, 128) if part.quick else (8192, 16384, 32768, 65536)
    rows: list[dict[str, Any]] = []
    for patches in batches:
        torch.manual_seed(patches)
        views = normalize(torch.randn(patches, 2, WIDTH, device=part.device), dim=-1)
        labels = (torch.arange(patches, device=part.device) >= patches // 2).long()
        row: dict[str, Any] = {"patches": patches}
        ours = _step(views, lambda z, y=labels: WeakSupConLoss(pure=(0,))(z, y).total)
        row["seconds"], row["bytes"] = part.seconds(ours), part.peak_bytes(ours)
        if patches <= 16384:  # a matrix of all pairs of mixed views takes 4 patches^2 bytes, and several are needed
            formula = _step(views, lambda z, y=labels: restatement(z, y))
            row["restatement_seconds"], row["restatement_bytes"] = part.seconds(formula), part.peak_bytes(formula)
            row["apart"] = float((ours() - formula()).abs() / formula().abs())
        rows.append(row)
        part.write({"width": WIDTH, "rows": rows})
        del views
    return 0


def _step(views: torch.Tensor, loss: Any) -> Any:
    """A function that takes the loss and its gradient, and returns the loss."""

    def step() -> torch.Tensor:
        leaf = views.detach().requires_grad_()
        value = loss(leaf)
        value.backward()
        return value.detach()

    return step


def restatement(views: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """WeakSupCon of views (n, 2, d) under labels (n,), 0 pure and 1 mixed, with every matrix written out."""
    pure, mixed = views[labels == 0].flatten(0, 1), views[labels == 1].flatten(0, 1)
    off = 1 - torch.eye(len(pure), device=views.device)
    similarity = (1 - (off * (pure @ pure.T)).sum() / off.sum()) / BASE
    s = mixed @ mixed.T / TEMPERATURE
    partner = torch.arange(len(mixed), device=views.device) ^ 1
    s = s - s.max(1, keepdim=True).values.detach()
    others = 1 - torch.eye(len(mixed), device=views.device)
    log_probability = s.gather(1, partner[:, None])[:, 0] - (s.exp() * others).sum(1).log()
    return similarity - TEMPERATURE / BASE * log_probability.mean()


if __name__ == "__main__":
    sys.exit(main())

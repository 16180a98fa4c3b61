"""Fit one head: AdamW on its class-weighted losses, stopped early on the validation slides."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wsc_ray.mil.auroc import auroc
from wsc_ray.mil.bags import Bags
from wsc_ray.mil.head import PackedHead, Settings
from wsc_ray.mil.stored import StoredBags

Source = Bags | StoredBags


@dataclass(frozen=True)
class Fit:
    """What a fit leaves: the head of the best epoch, and how it went.

    `scores` are on the validation slides: `loss`, `auroc`, `balanced_accuracy`. `history` has an entry an epoch with
    `epoch`, `train_loss`, `val_loss`.
    """

    head: PackedHead
    best_epoch: int
    scores: dict[str, float]
    history: list[dict[str, float]]


def fit_head(
    train: Source,
    val: Source,
    setting: Settings,
    *,
    classes: int,
    epochs: int,
    patience: int,
    bags_per_step: int,
    seed: int,
    max_instances: int | None = None,
    bf16: bool = False,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    rungs: Collection[int] = (),
    on_rung: Callable[[Fit], None] | None = None,
) -> Fit:
    """Fit a head and return it as it was at the epoch of the lowest validation loss.

    Classes count by inverse frequency in the training loss, and equally in the validation loss, so prevalence decides
    neither what is learned nor when to stop. The same arguments give the same head (on one thread: sums are then in
    one order); the caller's random state is left alone.

    Args:
        classes: C; labels of both sets are below it, and each occurs in both.
        patience: epochs without a lower validation loss before it stops.
        bags_per_step: slides of a gradient step.
        max_instances: of a larger bag, patches that are drawn for each step; None: all. Validation sees all.
        bf16: forward passes of training in bfloat16 where torch's autocast finds that fit; weights stay float32.
        device: where the head is fitted; bags in memory are copied there whole. The returned head is on the CPU.
        on_epoch: called with each entry of the history.
        rungs: epochs after which `on_rung` is called with the fit as it stands, unless it ends there.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = setting.build(train.width, classes)
        head.standardise_by(*train.moments())
        head.to(device)
        train, val = train.to(device), val.to(device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=setting.lr, weight_decay=setting.weight_decay)
        weights = len(train) / (classes * torch.bincount(train.labels.cpu(), minlength=classes).float())  # (C,)
        weights = weights.to(device)
        best, best_epoch, lowest = copy.deepcopy(head.state_dict()), 0, math.inf
        history: list[dict[str, float]] = []
        for epoch in range(1, epochs + 1):
            train_loss = train_epoch(
                head, optimizer, train, weights, bags_per_step, max_instances=max_instances, bf16=bf16
            )
            logits, _ = predict(head, val)
            val_loss = balanced_loss(logits, val.labels, classes)
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
            if on_epoch is not None:
                on_epoch(history[-1])
            if val_loss < lowest:
                best, best_epoch, lowest = copy.deepcopy(head.state_dict()), epoch, val_loss
            if epoch - best_epoch >= patience or not math.isfinite(train_loss):
                break
            if epoch in rungs and epoch < epochs and on_rung is not None:
                on_rung(_fit_so_far(copy.deepcopy(head), best, best_epoch, history, val, classes))
    return _fit_so_far(head, best, best_epoch, history, val, classes)


def _fit_so_far(
    head: PackedHead,
    best: dict[str, torch.Tensor],
    best_epoch: int,
    history: list[dict[str, float]],
    val: Source,
    classes: int,
) -> Fit:
    """The head as it was at its best epoch; untrained where the first epoch already diverged."""
    head.load_state_dict(best)
    scores = _scores(head, val, classes)
    return Fit(head.cpu().eval(), best_epoch, scores, list(history))


def train_epoch(
    head: PackedHead,
    optimizer: torch.optim.Optimizer,
    train: Source,
    weights: torch.Tensor,
    bags_per_step: int,
    *,
    max_instances: int | None = None,
    bf16: bool = False,
) -> float:
    """Take one pass over the training bags in random order, some at a time, and return the mean loss of a bag.

    Args:
        weights: of the classes, (C,).
        max_instances, bf16: see `fit_head`.
    """
    head.train()
    losses = []
    for chosen in torch.randperm(len(train)).to(train.labels.device).split(bags_per_step):
        features, offsets = train.take(chosen, max_instances)
        labels = train.labels[chosen]
        with torch.autocast(features.device.type, torch.bfloat16, enabled=bf16):
            losses_of_bags = head.training_losses(features, offsets, labels)
        # Not `weight=` of cross_entropy: it divides by the batch's own weights, which cancels them in small batches.
        loss = (weights[labels] * losses_of_bags).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((loss.detach(), len(chosen)))
    # Read at the end: each value read from an accelerator waits for it.
    return sum(float(loss) * bags for loss, bags in losses) / len(train)


def balanced_loss(logits: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """Cross-entropy, (b, C) against (b,), as the mean over classes of their means."""
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    return float(torch.stack([losses[labels == c].mean() for c in range(classes)]).mean())


@torch.inference_mode()
def predict(head: PackedHead, bags: Source) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (b, C) and attention (n,) of every bag, without dropout, some bags at a time."""
    head.eval()
    logits, attention = [], []
    for first, last in _chunks(bags.offsets.tolist(), bags.at_once):
        some = head(bags.between(first, last), bags.offsets[first : last + 1] - bags.offsets[first])
        logits.append(some[0])
        attention.append(some[1])
    return torch.cat(logits), torch.cat(attention)


def _chunks(offsets: list[int], at_once: int) -> list[tuple[int, int]]:
    """Runs of bags [first, last) of at most `at_once` patches, or of one bag."""
    chunks, first = [], 0
    for last in range(1, len(offsets)):
        if last == len(offsets) - 1 or offsets[last + 1] - offsets[first] > at_once:
            chunks.append((first, last))
            first = last
    return chunks


def _scores(head: PackedHead, val: Source, classes: int) -> dict[str, float]:
    logits, _ = predict(head, val)
    labels, probabilities = val.labels.cpu().numpy(), logits.double().softmax(dim=1).cpu().numpy()
    right = probabilities.argmax(axis=1) == labels
    # Of two classes, either against the other is the same; of more, the macro average of one against the rest.
    against = [1] if classes == 2 else range(classes)
    return {
        "loss": balanced_loss(logits, val.labels, classes),
        "auroc": float(np.mean([auroc(labels == c, probabilities[:, c])[0] for c in against])),
        "balanced_accuracy": float(np.mean([right[labels == c].mean() for c in range(classes)])),
    }

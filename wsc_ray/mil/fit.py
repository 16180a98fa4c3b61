"""Fitting one head: AdamW on its class-weighted losses, with early stopping on the validation slides."""

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
    """The result of a fit: the head at its best epoch, and its losses.

    `scores` are on the validation slides: `loss`, `auroc`, `balanced_accuracy`. `history` has one entry per epoch with
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
    """Fit a head and return it as of the epoch with the lowest validation loss.

    Classes are weighted by inverse frequency in the training loss, and equally in the validation loss, so that prevalence affects
    neither what is learned nor when fitting stops. The same arguments give the same head (on one thread, where sums have a fixed
    order). The caller's random state is not changed.

    Args:
        classes: C; the labels of both sets are below it, and each occurs in both sets.
        patience: number of epochs without a lower validation loss after which fitting stops.
        bags_per_step: number of slides per gradient step.
        max_instances: number of patches drawn from a larger bag for each step; None for all. Validation uses all patches.
        bf16: whether forward passes of training use torch's bfloat16 autocast; weights stay float32.
        device: where the head is fitted; bags in memory are copied there whole. The returned head is on the CPU.
        on_epoch: called with each entry of the history.
        rungs: epochs after which `on_rung` is called with the fit so far, unless fitting ends at that epoch.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = setting.build(train.width, classes)
        head.standardise_by(*train.moments())
        head.to(device)
        train, val = train.to(device), val.to(device)
        optimizer = make_optimizer(head, setting)
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


def make_optimizer(head: PackedHead, setting: Settings) -> torch.optim.Optimizer:
    """Return AdamW over a head's parameters."""
    # Heads are small, and so are many bags: unfused, the optimizer is a noticeable part of an epoch (`python -m benchmarks.mil`).
    return torch.optim.AdamW(head.parameters(), lr=setting.lr, weight_decay=setting.weight_decay, fused=True)


def _fit_so_far(
    head: PackedHead,
    best: dict[str, torch.Tensor],
    best_epoch: int,
    history: list[dict[str, float]],
    val: Source,
    classes: int,
) -> Fit:
    """Return the fit with the head as of its best epoch; an untrained head if the first epoch diverged."""
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
    """Train for one pass over the bags, in random order and `bags_per_step` at a time; return the mean loss per bag.

    Args:
        weights: (C,), weights of the classes.
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
    # Losses are read at the end, since reading a value from an accelerator waits for it.
    return sum(float(loss) * bags for loss, bags in losses) / len(train)


def balanced_loss(logits: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """Return the cross-entropy of logits (b, C) and labels (b,): the mean over classes of each class's mean."""
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    return float(torch.stack([losses[labels == c].mean() for c in range(classes)]).mean())


@torch.inference_mode()
def predict(head: PackedHead, bags: Source) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (b, C) and the attention (n,) of all bags, without dropout; bags are taken a few at a time."""
    head.eval()
    logits, attention = [], []
    for first, last in _chunks(bags.offsets.tolist(), bags.at_once):
        chunk = head(bags.between(first, last), bags.offsets[first : last + 1] - bags.offsets[first])
        logits.append(chunk[0])
        attention.append(chunk[1])
    return torch.cat(logits), torch.cat(attention)


def _chunks(offsets: list[int], at_once: int) -> list[tuple[int, int]]:
    """Return ranges of bags [first, last) that have at most `at_once` patches together, or are one larger bag."""
    chunks, first = [], 0
    for last in range(1, len(offsets)):
        if last == len(offsets) - 1 or offsets[last + 1] - offsets[first] > at_once:
            chunks.append((first, last))
            first = last
    return chunks


def _scores(head: PackedHead, val: Source, classes: int) -> dict[str, float]:
    logits, _ = predict(head, val)
    labels, probabilities = val.labels.cpu().numpy(), logits.double().softmax(dim=1).cpu().numpy()
    correct = probabilities.argmax(axis=1) == labels
    # For two classes one AUROC is enough, since the other equals it; for more, take the macro average of one against the rest.
    compared = [1] if classes == 2 else range(classes)
    return {
        "loss": balanced_loss(logits, val.labels, classes),
        "auroc": float(np.mean([auroc(labels == c, probabilities[:, c])[0] for c in compared])),
        "balanced_accuracy": float(np.mean([correct[labels == c].mean() for c in range(classes)])),
    }

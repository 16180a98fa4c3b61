"""The predictions of an ensemble's members for one slide; `predict` and the model in MLflow's registry share this code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wsc_ray.mil.ensemble import Member


@torch.inference_mode()
def predict_bag(members: Sequence[Member], features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (M, C) float64 and the attention (M, N) float32 of M members.

    Args:
        features: (N, D), with N at least 1.
    """
    bag = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    offsets = torch.tensor([0, len(bag)])
    probabilities, attention = [], []
    for member in members:
        logits, own = member.head.eval()(bag, offsets)
        probabilities.append(logits[0].double().softmax(dim=0).numpy())
        attention.append(own.float().numpy())
    return np.stack(probabilities), np.stack(attention)


def speaking(members: Sequence[Member], fold: str | None) -> list[Member]:
    """Return the members that may predict a slide: those that were fitted without its fold, or all if it has no fold."""
    return [member for member in members if fold is None or member.fold == fold]

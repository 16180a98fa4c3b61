"""What the members of an ensemble say of one slide: the same for `predict` and for the model in MLflow's registry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wsc_ray.mil.ensemble import Member


@torch.inference_mode()
def predict_bag(members: Sequence[Member], features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (M, C) float64 and attention (M, N) float32 of each of M members.

    Args:
        features: (N, D), N at least 1.
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
    """The members that may speak of a slide: those that its fold was held out from, or all where it is in none."""
    return [member for member in members if fold is None or member.fold == fold]

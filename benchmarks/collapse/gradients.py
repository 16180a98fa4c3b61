"""Why features collapse: the gradients of both halves before the first step, and the effect of moving the head's last bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.collapse.encoders import Encoders, Kind
from benchmarks.collapse.training import CONSTANT, SEED, take_steps, training_recipe
from wsc_ray.encoders import PatchEncoder, normalise_pixels
from wsc_ray.losses import WeakSupConLoss, WeakSupConTerms

HALVES = ("similarity", "contrastive")
SHIFTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
DISTANCES = (0, 8, 32, 128)
ESCAPE_STEPS, FALL_STEPS, ESCAPE_LR = 40, 10, 0.1


class FirstStep:
    """An encoder before its first step, and one batch."""

    def __init__(self, encoders: Encoders, kind: Kind, batch_size: int):
        self.encoder: PatchEncoder = encoders.make(kind, SEED).train()
        batch = next(encoders.seen(kind).batches(batch_size, 1, SEED))
        statistics, views = encoders.statistics(kind), torch.from_numpy(batch["views"]).flatten(0, 1)
        self.inputs = views.float() if statistics is None else normalise_pixels(views, statistics)
        self.labels = torch.from_numpy(batch["label"])

    def terms(self, projected: Tensor) -> WeakSupConTerms:
        """Return the two halves for projections (2n, d) before normalisation."""
        return WeakSupConLoss()(F.normalize(projected, dim=1).unflatten(0, (-1, 2)), self.labels)

    def project(self) -> Tensor:
        """Return the projections (2n, d)."""
        return self.encoder.head(self.encoder.backbone(self.inputs))

    @torch.no_grad()
    def length(self) -> float:
        """Return the mean length of the projections."""
        return float(self.project().norm(dim=1).mean())


def measure(encoders: Encoders, kind: Kind, batch_size: int) -> dict[str, Any]:
    """Measure gradients and shifts.

    Returns:
        `gradients`: the norms of each half's gradient with respect to the encoder, the head and the head's last bias, and `along`, the
        cosine between the halves' gradients with respect to this bias. `shifts`: both halves after the bias has moved down the
        similarity half's gradient, by multiples of the projections' mean length.
    """
    first = FirstStep(encoders, kind, batch_size)
    parts = {
        "encoder": list(first.encoder.backbone.parameters()),
        "head": list(first.encoder.head.parameters()),
        "last bias": [first.encoder.head[-1].bias],
    }
    projected = first.project()
    terms = first.terms(projected)
    norms: dict[str, dict[str, float]] = {}
    bias = {}
    for half in HALVES:
        value = getattr(terms, half)
        norms[half] = {name: _norm(torch.autograd.grad(value, part, retain_graph=True)) for name, part in parts.items()}
        (bias[half],) = torch.autograd.grad(value, parts["last bias"], retain_graph=True)
    down = -F.normalize(bias["similarity"], dim=0)
    with torch.no_grad():
        length = projected.norm(dim=1).mean()
        moved = [(shift, first.terms(projected + shift * length * down)) for shift in SHIFTS]
    return {
        "gradients": norms,
        "along": float(F.cosine_similarity(bias["similarity"], bias["contrastive"], dim=0)),
        "shifts": [{"shift": shift, **{half: float(getattr(at, half)) for half in HALVES}} for shift, at in moved],
    }


def fall(encoders: Encoders, batch_size: int) -> float:
    """Return the factor by which an adapter's projections grow longer in some steps at the constant weight 1."""
    first = FirstStep(encoders, Kind.ADAPTER, batch_size)
    before = first.length()
    recipe = training_recipe(batch_size, FALL_STEPS, ESCAPE_LR, similarity_warmup=CONSTANT)
    take_steps(encoders, Kind.ADAPTER, first.encoder, recipe)
    return first.length() / before


def escape(encoders: Encoders, batch_size: int) -> list[dict[str, float]]:
    """Return how far the contrastive half alone falls if an adapter's last bias starts some mean lengths away.

    Returns:
        For each distance `plateau`, and the contrastive half at the `first` measured step and at the `last`.
    """
    found = []
    recipe = training_recipe(batch_size, ESCAPE_STEPS, ESCAPE_LR, similarity_weight=0.0)
    plateau = recipe.loss.temperature / recipe.loss.base_temperature * math.log(batch_size - 1)
    for distance in DISTANCES:
        first = FirstStep(encoders, Kind.ADAPTER, batch_size)
        with torch.no_grad():
            direction = F.normalize(first.project().mean(0), dim=0)
            first.encoder.head[-1].bias.add_(distance * first.length() * direction)
        logged = take_steps(encoders, Kind.ADAPTER, first.encoder, recipe)
        values = {name: at["contrastive"] for name, at in (("first", logged[0]), ("last", logged[-1]))}
        found.append({"distance": distance, "plateau": plateau, **values})
    return found


def _norm(gradients: Sequence[Tensor]) -> float:
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())

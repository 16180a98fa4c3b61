"""Why features fall together: both halves' gradients before the first step, and what moving the head's last bias does."""

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
        """The halves, of projections (2n, d) before they are normalised."""
        return WeakSupConLoss()(F.normalize(projected, dim=1).unflatten(0, (-1, 2)), self.labels)

    def project(self) -> Tensor:
        """Projections (2n, d)."""
        return self.encoder.head(self.encoder.backbone(self.inputs))

    @torch.no_grad()
    def length(self) -> float:
        """Of projections, the mean."""
        return float(self.project().norm(dim=1).mean())


def measure(encoders: Encoders, kind: Kind, batch_size: int) -> dict[str, Any]:
    """Gradients and shifts.

    Returns:
        `gradients`: each half's norm over the encoder, the head and its last bias, and `along`, the cosine of both halves' gradients
        with respect to that bias. `shifts`: both halves when the bias has gone some of the projections' mean length down the
        similarity half's gradient.
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
    """How many times as long an adapter's projections are after some steps at the constant weight 1."""
    first = FirstStep(encoders, Kind.ADAPTER, batch_size)
    before = first.length()
    recipe = training_recipe(batch_size, FALL_STEPS, ESCAPE_LR, similarity_warmup=CONSTANT)
    take_steps(encoders, Kind.ADAPTER, first.encoder, recipe)
    return first.length() / before


def escape(encoders: Encoders, batch_size: int) -> list[dict[str, float]]:
    """How far the contrastive half alone comes when an adapter's last bias starts so many mean lengths away.

    Returns:
        For each distance: `plateau`, and the contrastive half at the `first` step that was looked at and at the `last`.
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

"""The bytes that a worker should send in a training step, computed from the options."""

from __future__ import annotations

from typing import Any

from wsc_ray.bench.scaling.figures import Setting
from wsc_ray.bench.scaling.plan import shards_of
from wsc_ray.encoders import build_encoder
from wsc_ray.recipe.sections import Encoder
from wsc_ray.stream.order import Geometry, worker_patches

NUMBER = 4  # bytes: features, log-sum-exps and sums are float32
COUNT = 8  # bytes, int64


def gathered_bytes(mixed: int, dim: int) -> int:
    """Return the bytes that a worker sends to the all-gathers of the WeakSupCon loss.

    These are two counts, and for each of the two views of a mixed patch its feature and its log-sum-exp.

    Args:
        mixed: the largest number of mixed patches of a worker; the rows of the other workers are padded to it.
        dim: length of a feature.
    """
    return 2 * COUNT + 2 * mixed * (dim + 1) * NUMBER


def reduced_bytes(dim: int) -> int:
    """Return the bytes that a worker sends to the all-reduce of the WeakSupCon loss: dim + 1 numbers for the one pure label."""
    return (dim + 1) * NUMBER


def gradient_bytes(backbone: str, crop: int) -> int:
    """Return the bytes of the gradients of an encoder and its projection head, which every worker sends to their all-reduce."""
    encoder = Encoder()
    model = build_encoder(backbone, size=crop, head_hidden=encoder.head_hidden, head_dim=encoder.head_dim)
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def promise(settings: dict[str, Any], setting: Setting) -> tuple[int, int]:
    """Return the bytes that a worker sends to the collectives of the loss and of the gradients in a step.

    A single worker sends none.
    """
    if setting.workers == 1:
        return 0, 0
    order = Geometry(
        seed=0, sampling="replacement", batch_size=setting.batch_size, shards=shards_of(setting), steps=1, window=1
    )
    mixed = max(worker_patches(order, 0, setting.workers)) // 2
    dim = Encoder().head_dim
    return gathered_bytes(mixed, dim) + reduced_bytes(dim), gradient_bytes(settings["backbone"], settings["crop"])

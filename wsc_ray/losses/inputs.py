"""Check the arguments of the losses, and choose the precision that losses are computed in."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
Labels = TypeVar("Labels", Tensor, Tensor | None)  # a function that gets labels returns labels


def require_positive(**values: float) -> None:
    """Raise ValueError unless every value is a finite number above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number above 0, not {value}")


def require_tile(tile: int | None) -> None:
    """Raise ValueError unless `tile` is None or a whole number from 1."""
    if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 1):
        raise ValueError(f"tile must be a whole number from 1, or None for the default, not {tile!r}")


def require_labels(labels: Tensor, patches: int) -> None:
    """Raise ValueError unless `labels` is an integer tensor of shape (patches,)."""
    if tuple(labels.shape) != (patches,) or labels.dtype not in _INTEGERS:
        raise ValueError(
            f"labels must be whole numbers of shape ({patches},), not {labels.dtype} of shape {tuple(labels.shape)}"
        )


def flatten_views(z: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """Return rows (N, d) and their labels (N,), from rows (N, d) or views (n, v, d) with one label per row or patch.

    Raises:
        ValueError: shapes are wrong, features are not floating point, or labels are not whole numbers.
    """
    if z.ndim not in (2, 3) or not z.is_floating_point():
        raise ValueError(f"z must be floating point of shape (N, d) or (n, v, d), not {z.dtype} {tuple(z.shape)}")
    if labels is not None:
        require_labels(labels, z.shape[0])
        if z.ndim == 3:
            labels = labels.repeat_interleave(z.shape[1])
    return z.reshape(z.shape[:-1].numel(), z.shape[-1]), labels


def in_full(z: Tensor) -> Tensor:
    """Return `z` in the dtype of all sums and log-sum-exps: float64 as it is, any smaller type as float32."""
    return z if z.dtype == torch.float64 else z.float()


def no_autocast(z: Tensor) -> torch.autocast:
    """Return a context without autocast, since the sums of a loss need their full precision."""
    return torch.autocast(z.device.type, enabled=False)

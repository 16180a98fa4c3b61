"""Checking that contenders compute the same loss: equal values, and equal gradients as an encoder would get them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

TOLERANCE = 1e-4  # relative; float32 sums of 10^8 terms differ by less


class UnequalError(RuntimeError):
    """A contender does not compute what ours does, so that comparing their times would mean nothing."""


def tangent(views: Tensor, grad: Tensor) -> Tensor:
    """The part of a gradient (n, 2, d) that is at right angles to the unit vectors `views`.

    Features reach a loss through a normalisation, whose backward drops the rest; the libraries normalise once more and
    drop it themselves.
    """
    return grad - (grad * views).sum(-1, keepdim=True) * views


def difference(ours: Tensor, theirs: Tensor) -> float:
    """|theirs - ours| / |ours|, with the Euclidean norm."""
    return (torch.linalg.vector_norm(theirs - ours) / torch.linalg.vector_norm(ours)).item()


def require_equal(what: str, ours: str, values: Mapping[str, float], gradients: Mapping[str, float]) -> None:
    """Check everybody's global value, and the relative difference of everybody's gradient from that of `ours`.

    Raises:
        UnequalError: one is off by more than `TOLERANCE`, or not a number.
    """
    for name, value in values.items():
        if not math.isclose(value, values[ours], rel_tol=TOLERANCE):
            raise UnequalError(f"{what}: the value of {name} is {value:.7g}, of {ours} {values[ours]:.7g}")
    for name, off in gradients.items():
        if not off <= TOLERANCE:
            raise UnequalError(f"{what}: the gradient of {name} differs from that of {ours} by {off:.2g}, relatively")

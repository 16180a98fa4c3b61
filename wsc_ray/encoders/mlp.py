"""An encoder of features: a multi-layer perceptron that adapts the features of a frozen encoder to a cohort.

It normalises the features of each patch (LayerNorm, Ba et al. 2016, without parameters), since encoders differ in the
scale of their features. It has no BatchNorm, so that results do not depend on which patches a worker holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class MlpShape:
    """The widths of a perceptron's layers.

    Attributes:
        inputs: width of the features that it takes.
        hidden: widths of its hidden layers.
        outputs: width of the features that it returns.
    """

    inputs: int
    hidden: Sequence[int]
    outputs: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "hidden": list(self.hidden)}


class FeatureMlp(nn.Module):
    """Features (m, inputs) -> features (m, outputs), with GELU after each hidden layer."""

    def __init__(self, shape: MlpShape):
        super().__init__()
        self.num_features = shape.outputs  # the name that timm's backbones use
        layers: list[nn.Module] = [nn.LayerNorm(shape.inputs, elementwise_affine=False)]
        width = shape.inputs
        for hidden in shape.hidden:
            layers += [nn.Linear(width, hidden), nn.GELU()]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, shape.outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)

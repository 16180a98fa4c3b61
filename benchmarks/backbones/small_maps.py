"""Depthwise convolutions over maps of a few positions, as products, since a CPU's library takes most of a step for their gradients.

At 48 px the last stages of EfficientNet-Lite0 have maps of 3 x 3 and 2 x 2 positions. The results are the same up to rounding.
"""

from __future__ import annotations

import torch
from torch import nn

POSITIONS = 16  # of a map, at most; larger maps go through the convolution


class SmallMapDepthwise(nn.Module):
    """A depthwise convolution of stride 1 that keeps the size of its input, (n, c, h, w) -> (n, c, h, w).

    Args:
        conv: the convolution, whose parameters stay its own.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = x.shape
        if height * width > POSITIONS:
            return self.conv(x)
        weight = self.conv.weight.flatten(1)
        padded = torch.cat([weight, weight.new_zeros(channels, 1)], dim=1).T  # (k * k + 1, c); the last row is 0
        taps = padded[_taps(height, width, self.conv.kernel_size[0])]  # (positions in, positions out, c)
        values = x.permute(0, 2, 3, 1).reshape(count, height * width, channels)
        out = values[:, :1] * taps[0]
        for position in range(1, height * width):
            out = out + values[:, position : position + 1] * taps[position]
        return out.reshape(count, height, width, channels).permute(0, 3, 1, 2)


def _taps(height: int, width: int, kernel: int) -> torch.Tensor:
    """Return which element of a kernel (k, k) takes each input position to each output position, (h w, h w); k * k for none."""
    y, x = (axis.flatten() for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    down, right = (axis[:, None] - axis[None] + kernel // 2 for axis in (y, x))
    reached = (down >= 0) & (down < kernel) & (right >= 0) & (right < kernel)
    return torch.where(reached, down * kernel + right, kernel * kernel)


def replace_depthwise(module: nn.Module) -> None:
    """Let the module's depthwise convolutions of stride 1 go over small maps as products."""
    for name, child in list(module.named_children()):
        if _applies(child):
            setattr(module, name, SmallMapDepthwise(child))
        else:
            replace_depthwise(child)


def restore_depthwise(module: nn.Module) -> None:
    """Undo `replace_depthwise`, so that parameters have their own names again."""
    for name, child in list(module.named_children()):
        if isinstance(child, SmallMapDepthwise):
            setattr(module, name, child.conv)
        else:
            restore_depthwise(child)


def _applies(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.groups == module.in_channels == module.out_channels
        and module.stride == module.dilation == (1, 1)
        and module.bias is None
        and module.padding == (module.kernel_size[0] // 2, module.kernel_size[1] // 2)
        and module.kernel_size[0] == module.kernel_size[1]
    )

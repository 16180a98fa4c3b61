"""Choices for a backbone's BatchNorm, whose statistics by default come from the views of one worker only.

`batch`: BatchNorm as it is; each worker (or micro-batch) has its own statistics. `sync`: statistics over all workers.
`group`: GroupNorm (Wu and He 2018), without statistics of the batch. `frozen`: the statistics that came with the
weights, unchanged; scale and shift still learn. A backbone without BatchNorm, such as a ViT, is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsc_ray.distributed import all_gather_stacked, metered, sending_now

Norm = Literal["batch", "sync", "group", "frozen"]


def batch_norms(model: nn.Module) -> list[BatchNorm]:
    """Return every BatchNorm of a model, whether torch's, timm's or `SyncBatchNorm`."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def freeze_statistics(model: nn.Module) -> None:
    """Let every BatchNorm use its running statistics without changing them."""
    for module in batch_norms(model):
        module.eval()


@contextmanager
def unchanged_statistics(model: nn.Module) -> Iterator[None]:
    """Let BatchNorm use the batch's statistics inside the block without changing its running statistics."""
    modules = batch_norms(model)
    momenta = [module.momentum for module in modules]
    for module in modules:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(modules, momenta, strict=True):
            module.momentum = momentum


def synchronise(model: nn.Module) -> nn.Module:
    """Return `model` with each BatchNorm replaced by a `SyncBatchNorm` with the same parameters, buffers and names."""
    if isinstance(model, BatchNorm):
        return SyncBatchNorm(model)
    for name, child in model.named_children():
        setattr(model, name, synchronise(child))
    return model


class SyncBatchNorm(nn.Module):
    """BatchNorm over the views of all workers (the default process group), on any device.

    Its values, gradients and running statistics equal those of BatchNorm in one process that holds everything. torch's
    SyncBatchNorm does not run on a CPU. It keeps the activation and dropout that timm puts into some of its BatchNorms.

    Args:
        like: the BatchNorm to replace; its parameters and buffers are used as they are, not copied.
    """

    eps: float
    momentum: float | None
    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, like: BatchNorm):
        super().__init__()
        self.eps, self.momentum = like.eps, like.momentum
        self.weight, self.bias = like.weight, like.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(like, name))
        self.after = nn.Sequential(*like.children())  # timm's BatchNormAct: drop, act
        self.train(like.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features (m, c, ...) of this worker, with the shape of `x`."""
        if not self.training:
            running = self.running_mean, self.running_var
            return self.after(F.batch_norm(x, *running, self.weight, self.bias, training=False, eps=self.eps))
        out, mean, var, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        assert self.momentum is not None  # None means an average over all batches so far, which no backbone uses
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1).clamp(min=1)), self.momentum)  # unbiased, as in torch
        return self.after(out)


BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | SyncBatchNorm


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias with mean and variance over the workers.

    Forward gathers each worker's mean, squared deviations and count, 2 c + 1 numbers; backward sums 2 c numbers. With
    x' the normalised x and means over all workers' rows (Ioffe and Szegedy 2015, section 3):

        dx = weight / sqrt(var + eps) * (dy - mean(dy) - x' mean(dy x'))
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        var, mean = torch.var_mean(_wide(x), _rows(x), correction=0)
        count = mean.new_tensor([x.numel() / x.shape[1]])
        means, variances, counts = all_gather_stacked(torch.cat((mean, var, count))).split(
            [len(mean), len(var), 1], dim=1
        )
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        var = ((variances + (means - mean) ** 2) * counts).sum(0) / count
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps, ctx.sending = eps, sending_now()
        ctx.mark_non_differentiable(mean, var, count)
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps), mean, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, var, count = ctx.saved_tensors
        along = (1, -1) + (1,) * (x.ndim - 2)
        inverse = torch.rsqrt(var + ctx.eps)
        normalised = (_wide(x) - mean.view(along)) * inverse.view(along)
        dy = _wide(dy)
        own = torch.stack((dy.sum(_rows(x)), (dy * normalised).sum(_rows(x))))  # sums of dy and of dy x', (2, c)
        with metered(ctx.sending):
            mean_dy, mean_dyx = all_gather_stacked(own).sum(0) / count
        scale = inverse if weight is None else inverse * weight
        dx = scale.view(along) * (dy - mean_dy.view(along) - normalised * mean_dyx.view(along))
        return dx.to(x.dtype), None if weight is None else own[1], None if weight is None else own[0], None


def _rows(x: Tensor) -> tuple[int, ...]:
    """Return the dimensions that BatchNorm takes statistics over: all but the channels."""
    return (0, *range(2, x.ndim))


def _wide(x: Tensor) -> Tensor:
    """Return `x` in float32 at least, the precision of statistics."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

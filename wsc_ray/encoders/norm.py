"""What stands in for a backbone's BatchNorm, whose statistics otherwise are of one worker's views alone.

`batch`: as the backbone has it, each worker (or micro-batch) with its own statistics. `sync`: statistics over all
workers. `group`: GroupNorm (Wu and He 2018), without statistics of the batch. `frozen`: the statistics that came with
the weights, unchanged; scale and shift still learn. A backbone without BatchNorm, such as a ViT, stays as it is.
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
    """Every BatchNorm of a model, torch's, timm's or ours."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def freeze_statistics(model: nn.Module) -> None:
    """Let every BatchNorm use its running statistics and leave them as they are."""
    for module in batch_norms(model):
        module.eval()


@contextmanager
def unchanged_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm uses the batch's statistics but does not fold them into the running ones."""
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
    """`model` with each BatchNorm replaced by `SyncBatchNorm` of the same parameters, buffers and names."""
    if isinstance(model, BatchNorm):
        return SyncBatchNorm(model)
    for name, child in model.named_children():
        setattr(model, name, synchronise(child))
    return model


class SyncBatchNorm(nn.Module):
    """BatchNorm over the views of all workers (the default process group), on any device.

    Equal, in value, gradient and running statistics, to BatchNorm in one process that holds everything. torch's own
    refuses the CPU. Takes over the activation and dropout that timm puts into some of its BatchNorms.

    Args:
        like: whose parameters and buffers it takes over, as the same objects.
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
        """Features (m, c, ...) of this worker -> the same shape."""
        if not self.training:
            known = self.running_mean, self.running_var
            return self.after(F.batch_norm(x, *known, self.weight, self.bias, training=False, eps=self.eps))
        out, mean, var, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        assert self.momentum is not None  # the average over all batches so far, which no backbone keeps
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1).clamp(min=1)), self.momentum)  # unbiased, as torch keeps it
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
        own = torch.stack((dy.sum(_rows(x)), (dy * normalised).sum(_rows(x))))  # of dy and dy x', (2, c)
        with metered(ctx.sending):
            mean_dy, mean_dyx = all_gather_stacked(own).sum(0) / count
        scale = inverse if weight is None else inverse * weight
        dx = scale.view(along) * (dy - mean_dy.view(along) - normalised * mean_dyx.view(along))
        return dx.to(x.dtype), None if weight is None else own[1], None if weight is None else own[0], None


def _rows(x: Tensor) -> tuple[int, ...]:
    """The dimensions that BatchNorm takes statistics over: all but the channels."""
    return (0, *range(2, x.ndim))


def _wide(x: Tensor) -> Tensor:
    """`x` in float32 at least, in which statistics are taken."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

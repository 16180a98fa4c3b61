"""Part `views`: the time to make both views of 512 patches on the device, and whether other variants are faster.

A faster variant, whose pixels differ by rounding at most, should be taken over into `wsc_ray.stream.device`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.gpu.part import open_part
from benchmarks.gpu.step import draw_files, step_parameters, training_recipe
from wsc_ray.encoders import normalise_pixels
from wsc_ray.pixels import decode
from wsc_ray.stream import device


def main() -> int:
    part = open_part("views")
    batch, size, stored = (8, 32, 48) if part.quick else (512, 224, 256)
    files = draw_files(8 if part.quick else 64, stored)
    patches = torch.from_numpy(np.stack([decode(files[i % len(files)]) for i in range(batch)]))
    parameters = torch.from_numpy(step_parameters(training_recipe(batch, size), stored, 0))
    pixels = patches.to(part.device)
    views = device.augment_on_device(pixels, parameters, size)
    result: dict[str, Any] = {
        "patches": batch,
        "stored": stored,
        "size": size,
        "copy_seconds": part.seconds(lambda: patches.to(part.device)),
        "normalise_seconds": part.seconds(lambda: normalise_pixels(views.flatten(0, 1))),
        "rows": [],
    }
    for name, variant in _variants(part.device, batch).items():
        with variant:
            seconds = part.seconds(lambda: device.augment_on_device(pixels, parameters, size), rounds=20)
            apart = (device.augment_on_device(pixels, parameters, size).int() - views.int()).abs()
        share = float((apart > 0).float().mean())
        row = {"variant": name, "seconds": seconds, "most_apart": int(apart.max()), "share_apart": share}
        result["rows"].append(row)
        part.write(result)
    return 0


def _variants(where: torch.device, batch: int) -> dict[str, AbstractContextManager[Any]]:
    """Contexts in which views are made in another way."""

    def together(count: int) -> AbstractContextManager[Any]:
        return patch.dict(device._TOGETHER, {where.type: count})

    return {
        "as in training": nullcontext(),
        **{f"{count} patches at a time": together(count) for count in (batch // 8, batch // 4, batch)},
        "weights in five passes": patch.object(device, "_weights", five_passes(device._weights)),
        "as in training, again": nullcontext(),
    }


def five_passes(weights: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`weights`, of `wsc_ray.stream.device`, in half as many passes over memory.

    What a pixel at p gives is clamp(h - |p - m|, 0, 1) s: bilinear with h = 1 about the sampled place m; for area means the
    overlap of a pixel with a stretch of `step` >= 1 pixels about m, with h = (step + 1) / 2 and s = 1 / step.
    """

    def faster(
        start: torch.Tensor, length: torch.Tensor, flipped: torch.Tensor, means: torch.Tensor, extent: int, size: int
    ) -> torch.Tensor:
        start, length, flipped, means = (column[..., None, None] for column in (start, length, flipped, means))
        place = torch.arange(size, device=start.device)[:, None]
        place = torch.where(flipped == 1, size - 1 - place, place)
        step = length / size
        centre = (place + 0.5) * step - 0.5
        middle = torch.where(means == 1, centre, centre.clamp(min=0).minimum(length - 1)) + start
        reach = torch.where(means == 1, (step + 1) / 2, 1.0)
        scale = torch.where(means == 1, 1 / step, 1.0)
        apart = (torch.arange(extent, device=start.device) - middle).abs_()
        return torch.sub(reach, apart, out=apart).clamp_(0, 1).mul_(scale)

    faster.__doc__ = weights.__doc__
    return faster


if __name__ == "__main__":
    sys.exit(main())

"""Both views of many patches at once, made with torch on the accelerator that trains.

This module applies the same parameters in the same order as `wsc_ray.stream.augment` does on the CPU, with nearly the
same pictures as a result. Crop, resize and flips are one weighted sum over columns and one over rows, with the weights
of OpenCV's bilinear or area resizing; colour is one matrix per view; blur is a grouped convolution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from wsc_ray.stream.augment import BLUR_REACH, blur_radius, fold_turns, takes_means
from wsc_ray.stream.colour import colour_matrix, recolours, restains, stain_matrix
from wsc_ray.stream.parameters import View

_TOGETHER = {"cpu": 64, "cuda": 256}  # patches at a time: each copy of a patch's views at 224 px takes 1 MB
# The type of pixels between two operations. float16 resolves an eighth of a byte's step, and tensor cores support it.
_DTYPE = {"cuda": torch.float16}


@torch.no_grad()
def augment_on_device(images: torch.Tensor, parameters: torch.Tensor, size: int) -> torch.Tensor:
    """Return both views of every patch, made on the device that holds `images`.

    Args:
        images: (n, h, w, 3) uint8 RGB. Smaller patches may be padded below and to the right; crops avoid the padding.
        parameters: (n, 2, P) from `view_parameters`, on the host, where small matrices are made of them.

    Returns:
        (n, 2, size, size, 3) uint8.
    """
    views = View(*parameters.flatten(0, 1).numpy().T.astype(float))  # columns (n * 2,)
    numbers = _numbers(views, size, images.device)
    together = _TOGETHER.get(images.device.type, 64)
    out = images.new_empty(len(images), 2, size, size, 3)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has fewer steps than a byte
        for first in range(0, len(images), together):
            part = slice(first, first + together)
            some = View(*(column[2 * first : 2 * (first + together)] for column in views))
            pixels = _views(images[part], some, {name: values[part] for name, values in numbers.items()}, size)
            out[part] = pixels.movedim(2, -1)
    return out


def _numbers(views: View, size: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the numbers that the operations need, (n, 2, ...) float32 on `device`, sent there as one tensor."""
    hflip, vflip, turns = (np.asarray(column, dtype=int) for column in (views.hflip, views.vflip, views.turns))
    horizontal, vertical, transposed = fold_turns(hflip, vflip, turns)
    columns = {
        "horizontal": horizontal,
        "vertical": vertical,
        "transposed": transposed,
        "means": takes_means(views.height, views.width, size),
        **{name: getattr(views, name) for name in ("top", "left", "height", "width")},
        "stain": stain_matrix(views),
        "colour": np.moveaxis(colour_matrix(views), -1, 0),
    }
    arrays = {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}
    flat = np.concatenate([array.reshape(len(array), -1) for array in arrays.values()], axis=1)
    sent = torch.from_numpy(flat)
    sent = sent.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else sent.to(device)
    parts = sent.split([array[0].size for array in arrays.values()], dim=1)
    return {
        name: part.reshape(-1, 2, *array.shape[1:]) for (name, array), part in zip(arrays.items(), parts, strict=True)
    }


def _views(images: torch.Tensor, views: View, numbers: dict[str, torch.Tensor], size: int) -> torch.Tensor:
    """Return the views of some patches, (n, 2, 3, size, size), with whole numbers from 0 to 255."""
    pixels = _crop(images, numbers, size)
    if np.any(restains(views)):
        logs = (pixels.float().clamp(min=1) / 255).log()
        pixels = _affine(logs, numbers["stain"]).exp().mul(255).clamp(0, 255).to(pixels.dtype)
    if np.any(recolours(views)):
        pixels = _colour(pixels, numbers["colour"]).clamp_(0, 255)
    if np.any(views.blur):
        pixels = _blur(pixels, views.blur)
    return pixels.round_().clamp_(0, 255)


def _crop(images: torch.Tensor, numbers: dict[str, torch.Tensor], size: int) -> torch.Tensor:
    """Return the views cropped, resized, flipped and turned: (n, 2, 3, size, size), float32 or the device's `_DTYPE`.

    Two matrix products do this: the first over the rows of the picture, for both views at once, the second over columns.
    """
    dtype = _DTYPE.get(images.device.type, torch.float32)
    n, h, w, _ = images.shape
    means = numbers["means"]
    rows = _weights(numbers["top"], numbers["height"], numbers["vertical"], means, h, size).to(dtype)
    columns = _weights(numbers["left"], numbers["width"], numbers["horizontal"], means, w, size).to(dtype)
    pixels = torch.bmm(rows.flatten(1, 2), images.to(dtype).flatten(2))  # (n, 2 * size, w * 3)
    pixels = pixels.view(n, 2, size, w, 3).movedim(-1, 2).reshape(2 * n, 3 * size, w)
    pixels = torch.bmm(pixels, columns.flatten(0, 1).mT).view(n, 2, 3, size, size)
    return torch.where(numbers["transposed"][..., None, None, None] == 1, pixels.mT, pixels)


def _weights(
    start: torch.Tensor, length: torch.Tensor, flipped: torch.Tensor, means: torch.Tensor, extent: int, size: int
) -> torch.Tensor:
    """Return the weight of each of the patch's `extent` pixels in each of the view's `size` pixels, along one axis.

    Args:
        start, length: (n, 2) of the crop along this axis.
        flipped: (n, 2), 0 or 1.
        means: (n, 2), 1 where resizing takes area means, 0 where it is bilinear.

    Returns:
        (n, 2, size, extent), summing to 1 over the last axis.
    """
    start, length, flipped, means = (column[..., None, None] for column in (start, length, flipped, means))
    place = torch.arange(size, device=start.device)[:, None]
    place = torch.where(flipped == 1, size - 1 - place, place)  # (n, 2, size, 1)
    pixel = torch.arange(extent, device=start.device) - start  # (n, 2, 1, extent), counted from the crop's edge
    step = length / size
    centre = ((place + 0.5) * step - 0.5).clamp(min=0).minimum(length - 1)
    bilinear = (1 - (centre - pixel).abs()).clamp(min=0)
    overlap = torch.minimum((place + 1) * step, pixel + 1) - torch.maximum(place * step, pixel)
    return torch.where(means == 1, overlap.clamp(min=0) / step, bilinear)


def _affine(pixels: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Apply matrices on [R, G, B, 1], (n, 2, 3, 4), to pixels (n, 2, 3, size, size)."""
    return torch.einsum("nvij,nvjyx->nviyx", matrix[..., :3], pixels) + matrix[..., 3, None, None]


def _colour(pixels: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Apply matrices of `colour_matrix`, (n, 2, 4, 3), to pixels (n, 2, 3, size, size)."""
    shift = (matrix[..., 3, :] * pixels.mean((-2, -1), dtype=torch.float32)).sum(-1)  # (n, 2)
    changed = torch.baddbmm(
        shift.to(pixels.dtype).view(-1, 1, 1),
        matrix[..., :3, :].flatten(0, 1).to(pixels.dtype),
        pixels.reshape(-1, 3, pixels.shape[-1] ** 2),
    )
    return changed.view(pixels.shape)


def _blur(pixels: torch.Tensor, sigmas: np.ndarray) -> torch.Tensor:
    """Blur pixels (n, 2, 3, size, size) with one sigma per view, (n * 2,) px; 0 leaves a view as it is."""
    radius = blur_radius(sigmas.max())
    place = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (place / np.maximum(sigmas, 1e-3)[:, None]) ** 2)
    kernels *= np.abs(place) <= np.ceil(BLUR_REACH * sigmas)[:, None]  # not the radius of the widest blur
    kernels = torch.from_numpy(kernels / kernels.sum(1, keepdims=True)).to(pixels.device, pixels.dtype)
    kernels = kernels.repeat_interleave(3, dim=0)[:, None, :, None]  # (n * 2 * 3, 1, taps, 1)
    planes = pixels.flatten(0, 2)[None]  # (1, n * 2 * 3, size, size)
    padded = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernels, groups=len(kernels)), kernels.mT, groups=len(kernels))
    return blurred.reshape(pixels.shape)

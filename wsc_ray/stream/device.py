"""The two views of many patches at once, in torch, on the accelerator that trains.

Takes the parameters that `wsc_ray.stream.augment` applies on the CPU, in the same order, and comes to nearly the same
pictures. Crop, resize and flips are one weighted sum over columns and one over rows, with the weights of OpenCV's
bilinear or area resizing; colour is a matrix a view; blur is a grouped convolution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from wsc_ray.stream.augment import BLUR_REACH, blur_radius, fold_turns, takes_means
from wsc_ray.stream.colour import colour_matrix, recolours, restains, stain_matrix
from wsc_ray.stream.parameters import View


@torch.no_grad()
def augment_on_device(images: torch.Tensor, parameters: torch.Tensor, size: int) -> torch.Tensor:
    """Both views of every patch, made where `images` are.

    Args:
        images: (n, h, w, 3) uint8 RGB. Smaller patches may be padded below and to the right: crops leave that out.
        parameters: (n, 2, P) of `view_parameters`, on the host: small matrices are made of them there.

    Returns:
        (n, 2, size, size, 3) uint8.
    """
    table = parameters.flatten(0, 1).numpy()  # (n * 2, P)
    views = View(*table.T.astype(float))
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has fewer steps than a byte
        pixels = _crop(images, views, size)  # (n, 2, 3, size, size)
        if np.any(restains(views)):
            logs = (pixels.clamp(min=1) / 255).log()
            pixels = _affine(logs, stain_matrix(views)).exp().mul(255).clamp(0, 255)
        if np.any(recolours(views)):
            pixels = _colour(pixels, colour_matrix(views)).clamp(0, 255)
        if np.any(views.blur):
            pixels = _blur(pixels, views.blur)
        return pixels.round().clamp(0, 255).to(torch.uint8).movedim(2, -1)


def _crop(images: torch.Tensor, views: View, size: int) -> torch.Tensor:
    """Crop, resize, flip and turn: (n, 2, 3, size, size) float32."""
    flags = (np.asarray(column, dtype=int) for column in (views.hflip, views.vflip, views.turns))
    horizontal, vertical, transposed = (_pairs(column, images.device) for column in fold_turns(*flags))
    means = _pairs(takes_means(views.height, views.width, size), images.device)
    top, left, height, width = (_pairs(column, images.device) for column in views[:4])
    columns = _weights(left, width, horizontal, means, images.shape[2], size)  # (n, 2, size, w)
    rows = _weights(top, height, vertical, means, images.shape[1], size)
    pixels = torch.einsum("nhwc,nvxw->nvchx", images.float(), columns)
    pixels = torch.einsum("nvchx,nvyh->nvcyx", pixels, rows)
    return torch.where(transposed[..., None, None, None] == 1, pixels.mT, pixels)


def _weights(
    start: torch.Tensor, length: torch.Tensor, flipped: torch.Tensor, means: torch.Tensor, extent: int, size: int
) -> torch.Tensor:
    """How much each of `extent` pixels of the patch gives to each of `size` of the view.

    Args:
        start, length: (n, 2), of the crop along this axis.
        flipped, means: (n, 2), 0 or 1; whether resizing takes area means, else it is bilinear.

    Returns:
        (n, 2, size, extent), summing to 1 over the last.
    """
    start, length, flipped, means = (column[..., None, None] for column in (start, length, flipped, means))
    place = torch.arange(size, device=start.device)[:, None]
    place = torch.where(flipped == 1, size - 1 - place, place)  # (n, 2, size, 1)
    pixel = torch.arange(extent, device=start.device) - start  # (n, 2, 1, extent), counted in the crop
    step = length / size
    centre = ((place + 0.5) * step - 0.5).clamp(min=0).minimum(length - 1)
    bilinear = (1 - (centre - pixel).abs()).clamp(min=0)
    overlap = torch.minimum((place + 1) * step, pixel + 1) - torch.maximum(place * step, pixel)
    return torch.where(means == 1, overlap.clamp(min=0) / step, bilinear)


def _affine(pixels: torch.Tensor, matrices: np.ndarray) -> torch.Tensor:
    """Apply (n * 2, 3, 4) on [R, G, B, 1] to (n, 2, 3, size, size)."""
    matrix = _pairs(matrices, pixels.device)
    return torch.einsum("nvij,nvjyx->nviyx", matrix[..., :3], pixels) + matrix[..., 3, None, None]


def _colour(pixels: torch.Tensor, matrices: np.ndarray) -> torch.Tensor:
    """Apply `colour_matrix`, (4, 3, n * 2), to (n, 2, 3, size, size)."""
    matrix = _pairs(np.moveaxis(matrices, -1, 0), pixels.device)
    shift = (matrix[..., 3, :] * pixels.mean((-2, -1))).sum(-1)  # (n, 2)
    return torch.einsum("nvij,nvjyx->nviyx", matrix[..., :3, :], pixels) + shift[..., None, None, None]


def _blur(pixels: torch.Tensor, sigmas: np.ndarray) -> torch.Tensor:
    """Blur (n, 2, 3, size, size) with a sigma a view, (n * 2,) px; 0 leaves a view as it is."""
    radius = blur_radius(sigmas.max())
    place = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (place / np.maximum(sigmas, 1e-3)[:, None]) ** 2)
    kernels *= np.abs(place) <= np.ceil(BLUR_REACH * sigmas)[:, None]  # whatever the widest blur beside it
    kernels = torch.from_numpy(kernels / kernels.sum(1, keepdims=True)).float().to(pixels.device)
    kernels = kernels.repeat_interleave(3, dim=0)[:, None, :, None]  # (n * 2 * 3, 1, taps, 1)
    planes = pixels.flatten(0, 2)[None]  # (1, n * 2 * 3, size, size)
    padded = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernels, groups=len(kernels)), kernels.mT, groups=len(kernels))
    return blurred.reshape(pixels.shape)


def _pairs(rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """(n * 2, ...) to (n, 2, ...) float32 on `device`."""
    return torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(device).unflatten(0, (-1, 2))

"""Two random views of a patch, made with OpenCV: their parameters are drawn first, then applied.

The operations come in this order: crop and resize, flips, quarter turn, stain jitter, colour jitter, grayscale, blur.
The defaults are the paper's, with torchvision's distributions
(https://docs.pytorch.org/vision/stable/transforms.html). Pixels stay bytes, except in the logarithms of stains.
"""

from __future__ import annotations

import math
from typing import TypeVar

import cv2
import numpy as np

from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.colour import colour_matrix, recolours, restains, stain_matrix
from wsc_ray.stream.parameters import View, view_draws, view_parameters

_MEANS_FROM = 1.5  # resizing takes area means where one px of the view covers more px of the picture than this
BLUR_REACH = 3  # a blur's kernel reaches so many sigmas to each side
_STRIP = 32  # rows to take logarithms of at a time: a whole picture of floats leaves the cache and takes twice as long
_LOG = np.log(np.maximum(np.arange(256), 1) / 255).astype(np.float32)  # 0 has no logarithm and takes that of 1
Whole = TypeVar("Whole", int, np.ndarray)
cv2.setNumThreads(1)  # Ray runs one task per core; threads inside the tasks would compete for the cores


def two_views(image: np.ndarray, config: Augment, *key: int) -> np.ndarray:
    """Return two random views of a patch.

    Args:
        image: (h, w, 3) uint8 RGB.
        key: integers that seed the random numbers; the same key and size of image give the same parameters.

    Returns:
        (2, size, size, 3) uint8.
    """
    parameters = view_parameters(config, image.shape[0], image.shape[1], view_draws(1, *key)[0].tolist())
    views = np.empty((2, config.size, config.size, 3), np.uint8)
    for row, view in zip(parameters, views, strict=True):
        apply_view(image, row, config.size, out=view)
    return views


def apply_view(image: np.ndarray, parameters: np.ndarray, size: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """Return the view of a patch that one row of parameters describes.

    Args:
        image: (h, w, 3) uint8 RGB.
        parameters: (P,), see `View`.
        out: array to write the view into, (size, size, 3) uint8.

    Returns:
        `out`, or a new array like it.
    """
    out = np.empty((size, size, 3), np.uint8) if out is None else out
    view = View(*parameters.tolist())
    top, left, height, width = int(view.top), int(view.left), int(view.height), int(view.width)
    picture = _turn(resize(image[top : top + height, left : left + width], size), view)
    if restains(view):
        picture = _restain(picture, view)
    if recolours(view):
        picture = _recolour(picture, view, out)  # writes into `out`, since this is mostly the last change
    if view.blur:
        picture = _blur(picture, view.blur)
    if picture is not out:
        out[:] = picture
    return out


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return the image resized to (size, size, 3): by area means where it shrinks much, else bilinearly.

    Area means do not alias, but take five times as long; near the size of the view, bilinear resizing aliases little.
    """
    if image.shape[:2] == (size, size):
        return image
    means = takes_means(image.shape[0], image.shape[1], size)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if means else cv2.INTER_LINEAR)


def takes_means(height: int, width: int, size: int) -> bool:
    """Return whether `resize` takes area means for a picture of this height and width, numbers or arrays of them."""
    return (height * width > _MEANS_FROM * size * size) & (height >= size) & (width >= size)


def fold_turns(hflip: Whole, vflip: Whole, turns: Whole) -> tuple[Whole, Whole, Whole]:
    """Return the flips and the transposition that equal these flips followed by quarter turns.

    Args:
        hflip, vflip: 0 or 1, or arrays of them.
        turns: quarter turns anticlockwise, 0 to 3, or an array of them.

    Returns:
        Horizontal flip, vertical flip and the transposition that follows them, each 0 or 1.
    """
    return hflip ^ ((turns ^ turns >> 1) & 1), vflip ^ (turns >> 1), turns & 1


def blur_radius(sigma: float) -> int:
    """Return how many px a blur's kernel reaches to each side."""
    return math.ceil(BLUR_REACH * sigma)


def _turn(picture: np.ndarray, view: View) -> np.ndarray:
    horizontal, vertical, transposed = fold_turns(int(view.hflip), int(view.vflip), int(view.turns))
    if horizontal or vertical:
        picture = cv2.flip(picture, -1 if horizontal and vertical else horizontal)
    return cv2.transpose(picture) if transposed else picture


def _restain(picture: np.ndarray, view: View) -> np.ndarray:
    matrix, changed = stain_matrix(view), np.empty_like(picture)
    for start in range(0, len(picture), _STRIP):
        logs = cv2.transform(cv2.LUT(picture[start : start + _STRIP], _LOG), matrix)
        cv2.convertScaleAbs(cv2.exp(logs), changed[start : start + _STRIP], alpha=255)
    return changed


def _recolour(picture: np.ndarray, view: View, out: np.ndarray) -> np.ndarray:
    colour = colour_matrix(view)
    affine = np.empty((3, 4))
    affine[:, :3] = colour[:3]
    affine[:, 3] = colour[3] @ cv2.mean(picture)[:3]
    return cv2.transform(picture, affine, out)


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    kernel = cv2.getGaussianKernel(2 * blur_radius(sigma) + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(picture, -1, kernel, kernel)  # on bytes it takes half the time of cv2.GaussianBlur

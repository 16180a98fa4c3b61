"""Two random views of a patch, as the paper draws them, in OpenCV.

RandomResizedCrop, flips, colour jitter and grayscale with torchvision's parameter distributions
(https://docs.pytorch.org/vision/stable/transforms.html). Brightness, contrast, saturation and grayscale are affine
maps of RGB, and a hue turn about the grey axis nearly is torchvision's turn in HSV, so that the colour of a view is
one 3x4 matrix, applied to the crop after resizing.

The parameters depend on a key (seed, epoch, step, position in the global batch) alone: a resumed run, or one on other
machines, draws the same views.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from wsc_ray.recipe import Augment
from wsc_ray.stream.random import uniform

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision and PIL weigh grey
_DRAWS = 40  # uniform numbers a view may use
_VIEWS = 4  # what a random number is for; see order.py
cv2.setNumThreads(1)  # Ray runs a task a core; threads inside would fight over them


def two_views(image: np.ndarray, config: Augment, *key: int) -> np.ndarray:
    """Two views of a patch.

    Args:
        image: (h, w, 3) uint8 RGB.
        key: integers that alone decide the views.

    Returns:
        (2, size, size, 3) uint8.
    """
    draws = uniform(2 * _DRAWS, _VIEWS, *key)
    return np.stack([_view(image, config, iter(part.tolist())) for part in (draws[:_DRAWS], draws[_DRAWS:])])


def _view(image: np.ndarray, config: Augment, draws: Iterator[float]) -> np.ndarray:
    top, left, height, width = crop_box(image.shape[0], image.shape[1], config.scale, config.ratio, draws)
    view = resize(image[top : top + height, left : left + width], config.size)
    if next(draws) < config.hflip:
        view = cv2.flip(view, 1)
    if next(draws) < config.vflip:
        view = cv2.flip(view, 0)
    matrix = colour_matrix(view, config, draws)
    return view if matrix is None else cv2.transform(view, matrix.astype(np.float32))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to (size, size, 3): area means when shrinking, which do not alias, else bilinear."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] > size and image.shape[1] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def crop_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: Iterator[float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random resized crop (Szegedy et al. 2015): ten tries, then the middle."""
    for _ in range(10):
        area = height * width * _between(next(draws), *scale)
        aspect = math.exp(_between(next(draws), math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(next(draws) * (height - h + 1)), int(next(draws) * (width - w + 1)), h, w
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def colour_matrix(view: np.ndarray, config: Augment, draws: Iterator[float]) -> np.ndarray | None:
    """The 3x4 matrix of a view's colour change on [R, G, B, 1] in 0..255; None where nothing changes.

    As in torchvision the four jitters come in a random order, and contrast turns about the mean grey of the picture
    as it is at that point.
    """
    colour = None
    if next(draws) < config.jitter:
        colour = np.eye(3, 4)
        mean = np.array(cv2.mean(view)[:3] + (1.0,))
        order = sorted((next(draws), which) for which in range(4))
        amounts = (config.brightness, config.contrast, config.saturation)
        factors = [_between(next(draws), max(0.0, 1 - amount), 1 + amount) for amount in amounts]
        turn = _between(next(draws), -config.hue, config.hue)
        for _, which in order:
            if which == 0:
                colour = brightness(colour, factors[0])
            elif which == 1:
                colour = contrast(colour, factors[1], mean)
            elif which == 2:
                colour = saturation(colour, factors[2])
            else:
                colour = hue(colour, turn)
    if next(draws) < config.grayscale:
        colour = saturation(np.eye(3, 4) if colour is None else colour, 0.0)
    return colour


# One change of colour after another: each takes the 3x4 matrix so far and returns it with the change behind it.


def brightness(colour: np.ndarray, factor: float) -> np.ndarray:
    """Towards black (below 1) or away from it."""
    return factor * colour


def contrast(colour: np.ndarray, factor: float, mean: np.ndarray) -> np.ndarray:
    """Towards or away from the picture's mean grey; `mean` is [R, G, B, 1] before all changes."""
    changed = factor * colour
    changed[:, 3] += (1 - factor) * (_LUMA @ colour @ mean)
    return changed


def saturation(colour: np.ndarray, factor: float) -> np.ndarray:
    """Towards (0: to) or away from each pixel's own grey."""
    return factor * colour + (1 - factor) * (_LUMA @ colour)


def hue(colour: np.ndarray, turn: float) -> np.ndarray:
    """A turn by a fraction of the circle, about the grey axis (Rodrigues' formula)."""
    angle = 2 * math.pi * turn
    c, s = math.cos(angle), math.sin(angle) / math.sqrt(3)
    a, b, d = (1 - c) / 3 + c, (1 - c) / 3 - s, (1 - c) / 3 + s
    return np.array(((a, b, d), (d, a, b), (b, d, a))) @ colour


def _between(draw: float, low: float, high: float) -> float:
    return low + (high - low) * draw

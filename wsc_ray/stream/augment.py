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
    return np.stack([_view(image, config, iter(part)) for part in (draws[:_DRAWS], draws[_DRAWS:])])


def _view(image: np.ndarray, config: Augment, draws) -> np.ndarray:
    top, left, height, width = crop_box(image.shape[0], image.shape[1], config.scale, config.ratio, draws)
    view = resize(image[top : top + height, left : left + width], config.size)
    if next(draws) < config.hflip:
        view = cv2.flip(view, 1)
    if next(draws) < config.vflip:
        view = cv2.flip(view, 0)
    matrix = colour_matrix(view, config, draws)
    return view if matrix is None else cv2.transform(view, matrix)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to (size, size, 3): area means when shrinking, which do not alias, else bilinear."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] > size and image.shape[1] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def crop_box(height: int, width: int, scale, ratio, draws) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random resized crop (Szegedy et al. 2015): ten tries, then the middle."""
    for _ in range(10):
        area = height * width * _between(next(draws), *scale)
        aspect = math.exp(_between(next(draws), math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(next(draws) * (height - h + 1)), int(next(draws) * (width - w + 1)), h, w
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def colour_matrix(view: np.ndarray, config: Augment, draws) -> np.ndarray | None:
    """The 3x4 matrix of a view's colour change on [R, G, B, 1] in 0..255; None where nothing changes.

    As in torchvision the four jitters come in a random order, and contrast turns about the mean grey of the picture
    as it is at that point.
    """
    matrix = np.eye(4)
    changed = False
    if next(draws) < config.jitter:
        changed = True
        mean = np.append(view.reshape(-1, 3).mean(axis=0), 1.0)
        order = np.argsort([next(draws) for _ in range(4)])
        factors = [
            _between(next(draws), max(0.0, 1 - a), 1 + a)
            for a in (config.brightness, config.contrast, config.saturation)
        ]
        turn = _between(next(draws), -config.hue, config.hue)
        for which in order:
            if which == 0:
                step = _blend(factors[0], np.zeros((3, 4)))
            elif which == 1:
                grey = np.zeros((3, 4))
                grey[:, 3] = _LUMA @ (matrix @ mean)[:3]
                step = _blend(factors[1], grey)
            elif which == 2:
                step = _blend(factors[2], _grey())
            else:
                step = _hue(turn)
            matrix = step @ matrix
    if next(draws) < config.grayscale:
        changed = True
        matrix = _blend(0.0, _grey()) @ matrix
    return matrix[:3].astype(np.float32) if changed else None


def _between(draw: float, low: float, high: float) -> float:
    return low + (high - low) * draw


def _blend(factor: float, other: np.ndarray) -> np.ndarray:
    """factor * picture + (1 - factor) * other, as a 4x4 matrix; `other` is (3, 4)."""
    step = np.eye(4)
    step[:3] = factor * np.eye(4)[:3] + (1 - factor) * other
    return step


def _grey() -> np.ndarray:
    grey = np.zeros((3, 4))
    grey[:, :3] = _LUMA
    return grey


def _hue(turn: float) -> np.ndarray:
    """A turn of hue by a fraction of the circle, about the grey axis (Rodrigues' formula)."""
    angle = 2 * math.pi * turn
    c, s = math.cos(angle), math.sin(angle) / math.sqrt(3)
    step = np.eye(4)
    step[:3, :3] = (1 - c) / 3 + np.array([[c, -s, s], [s, c, -s], [-s, s, c]])
    return step

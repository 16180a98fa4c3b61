"""The random numbers of a patch's two views: where to crop, which way to turn, how to recolour, how much to blur.

Drawn apart from their use, so that the CPU and the accelerator apply the same ones. They depend on the recipe, the size
of the patch, a key (seed, step) and the position in the global batch alone. Every number has a draw of its own: switching
one operation on leaves the others as they were. Crops are torchvision's RandomResizedCrop (Szegedy et al. 2015), colour
its ColorJitter, stains those of Tellez et al. 2018 (https://arxiv.org/abs/1808.05896).

Only the raw stream of Philox, the four operations of IEEE arithmetic, square roots and `decimal` make them, which round
alike everywhere: the numbers are the same, bit for bit, on every platform, and the pixels but for a rounding.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from wsc_ray.random import uniform
from wsc_ray.recipe.sections import Augment

_TRIES = 10  # crops drawn before the middle of the patch is taken
_CROP = 2 + 2 * _TRIES  # uniform numbers of a crop
_DRAWS = _CROP + 20  # and of a view
_VIEWS = 4  # what a random number is for; see order.py


class View(NamedTuple):
    """The columns of the parameters, in order; as numbers of one view, or as arrays or tensors of many.

    Where an operation is switched off or not drawn, its columns hold what changes nothing.
    """

    top: Any  # of the crop, px of the patch
    left: Any
    height: Any
    width: Any
    hflip: Any  # 0 or 1
    vflip: Any  # 0 or 1, after it
    turns: Any  # 0 to 3 quarter turns anticlockwise, after both flips
    scale_h: Any  # factors of the haematoxylin, eosin and DAB channels ...
    scale_e: Any
    scale_d: Any
    shift_h: Any  # ... and what is then added to them, optical density
    shift_e: Any
    shift_d: Any
    brightness: Any  # factors
    contrast: Any
    saturation: Any
    hue: Any  # fraction of a full turn
    contrast_first: Any  # 1: before the turn of hue, 0: after it
    saturation_first: Any
    grayscale: Any  # 0 or 1
    blur: Any  # sigma, px of the view; 0: none


def view_draws(count: int, *key: int) -> np.ndarray:
    """The uniform numbers that `count` patches' views are made of, (count, 2 * n): a row a patch.

    Many at a time, since to start a stream of random numbers costs more than the numbers.

    Args:
        key: integers that, with the row, alone decide them.
    """
    return uniform(count * 2 * _DRAWS, _VIEWS, *key).reshape(count, 2 * _DRAWS)


def view_parameters(config: Augment, height: int, width: int, draws: list[float]) -> np.ndarray:
    """The parameters of both views of a patch.

    Args:
        height, width: of the patch, px.
        draws: a row of `view_draws`, as a list.

    Returns:
        (2, len(View._fields)) float32.
    """
    views = [_view(config, height, width, draws[:_DRAWS]), _view(config, height, width, draws[_DRAWS:])]
    return np.array(views, dtype=np.float32)


def _view(config: Augment, height: int, width: int, draws: list[float]) -> View:
    top, left, h, w = _crop(height, width, config.scale, config.ratio, draws)
    hflip, vflip, turns, jitter, bright, contrast, saturate, hue, *rest = draws[_CROP:]
    when_contrast, when_saturation, when_hue, grayscale, blur, sigma, *stains = rest
    strength = 1 if jitter < config.jitter else 0
    return View(
        top=top,
        left=left,
        height=h,
        width=w,
        hflip=hflip < config.hflip,
        vflip=vflip < config.vflip,
        turns=int(4 * turns) if config.rotate90 else 0,
        scale_h=_around(1, config.hed, stains[0]),
        scale_e=_around(1, config.hed, stains[1]),
        scale_d=_around(1, config.hed, stains[2]),
        shift_h=_around(0, config.hed, stains[3]),
        shift_e=_around(0, config.hed, stains[4]),
        shift_d=_around(0, config.hed, stains[5]),
        brightness=_around(1, strength * config.brightness, bright),
        contrast=_around(1, strength * config.contrast, contrast),
        saturation=_around(1, strength * config.saturation, saturate),
        hue=_around(0, strength * config.hue, hue),
        contrast_first=when_contrast < when_hue,
        saturation_first=when_saturation < when_hue,
        grayscale=grayscale < config.grayscale,
        blur=_between(*config.blur_sigma, sigma) if blur < config.blur else 0,
    )


def _crop(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: list[float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop of random area and aspect ratio."""
    low, high = _log(ratio[0]), _log(ratio[1])
    for n in range(_TRIES):
        area = height * width * _between(*scale, draws[2 + 2 * n])
        aspect = _exp(_between(low, high, draws[3 + 2 * n]))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(draws[0] * (height - h + 1)), int(draws[1] * (width - w + 1)), h, w
    w, h = max(1, min(width, round(height * ratio[1]))), max(1, min(height, round(width / ratio[0])))
    return (height - h) // 2, (width - w) // 2, h, w


def _between(low: float, high: float, draw: float) -> float:
    return low + (high - low) * draw


def _around(middle: float, amount: float, draw: float) -> float:
    return middle + amount * (2 * draw - 1)


@lru_cache
def _log(x: float) -> float:
    """Rounded correctly, as the C library's may not be."""
    return float(Decimal(x).ln())


def _exp(x: float) -> float:
    """By halving and squaring around a Taylor series: the C library's differs by platform in the last bit."""
    x /= 64
    value = 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7 * (1 + x / 8)))))))
    for _ in range(6):
        value *= value
    return value

"""Draw the random parameters of a patch's two views: where to crop, which way to turn, how to recolour and blur.

Parameters are drawn here and applied elsewhere, so that the CPU and the accelerator apply the same ones. They depend
only on the recipe, the size of the patch, a key (seed, step) and the patch's position in the global batch. Every
parameter has a draw of its own: switching one operation on leaves the others as they were. Crops follow torchvision's
RandomResizedCrop (Szegedy et al. 2015), colour its ColorJitter, stains Tellez et al. 2018
(https://arxiv.org/abs/1808.05896).

Parameters are made with the raw stream of Philox, the four operations of IEEE arithmetic, square roots and `decimal`
only, since these round alike everywhere: parameters are equal, bit for bit, on every platform, and pixels up to
rounding.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from wsc_ray.random import uniform
from wsc_ray.recipe.sections import Augment

_TRIES = 10  # crops to draw before falling back to the middle of the patch
_CROP = 2 + 2 * _TRIES  # uniform numbers for a crop
_DRAWS = _CROP + 20  # uniform numbers for a view
_VIEWS = 4  # part of a random stream's key; see order.py


class View(NamedTuple):
    """The columns of the parameters, in order: numbers for one view, arrays or tensors for many.

    Where an operation is switched off or not drawn, its columns hold the values that change nothing.
    """

    top: Any  # top, left, height and width of the crop, px of the patch
    left: Any
    height: Any
    width: Any
    hflip: Any  # 0 or 1
    vflip: Any  # 0 or 1, after the horizontal flip
    turns: Any  # 0 to 3 quarter turns anticlockwise, after both flips
    scale_h: Any  # factors of the haematoxylin, eosin and DAB densities ...
    scale_e: Any
    scale_d: Any
    shift_h: Any  # ... and the optical densities that are then added
    shift_e: Any
    shift_d: Any
    brightness: Any  # factors of brightness, contrast and saturation
    contrast: Any
    saturation: Any
    hue: Any  # fraction of a full turn
    contrast_first: Any  # 1: contrast changes before hue, 0: after it
    saturation_first: Any  # 1: saturation changes before hue, 0: after it
    grayscale: Any  # 0 or 1
    blur: Any  # sigma, px of the view; 0: none


def view_draws(count: int, *key: int) -> np.ndarray:
    """Return the uniform random numbers for the views of `count` patches, (count, 2 * n): one row per patch.

    One call draws them for many patches, since starting a random stream costs more than the numbers.

    Args:
        key: integers that seed the stream; a row depends on them and its index only.
    """
    return uniform(count * 2 * _DRAWS, _VIEWS, *key).reshape(count, 2 * _DRAWS)


def view_parameters(config: Augment, height: int, width: int, draws: list[float]) -> np.ndarray:
    """Return the parameters of both views of a patch.

    Args:
        height, width: size of the patch, px.
        draws: one row of `view_draws`, as a list.

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
    """Return top, left, height and width of a crop of random area and aspect ratio."""
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
    """Return the natural logarithm, correctly rounded; the C library's may not be."""
    return float(Decimal(x).ln())


def _exp(x: float) -> float:
    """Return the exponential, by scaling, a Taylor series and squaring.

    The C library's differs between platforms in the last bit.
    """
    x /= 64
    value = 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7 * (1 + x / 8)))))))
    for _ in range(6):
        value *= value
    return value

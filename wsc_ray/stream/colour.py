"""The matrices that change a view's colour and stains, made from its parameters.

Brightness b, contrast c, saturation s, a rotation of hue R about the grey axis, and grayscale are linear in RGB and in
the picture's mean colour. Let l be the weights of grey. In the order saturation, hue, contrast, a pixel x of a picture
with mean m becomes

    b c (s R x + (1 - s) (l . x)) + b (1 - c) l . (s R m + (1 - s) (l . m))

Only two choices of order change the result: hue before or after saturation, and hue before or after contrast, since
saturation keeps a pixel's grey and R keeps grey pixels. Jitter of haematoxylin, eosin and DAB (Tellez et al. 2018) is
affine in the logarithm of RGB.

Every function takes the parameters of one view as numbers, or those of many views as arrays.
"""

from __future__ import annotations

import math

import numpy as np

from wsc_ray.stream.parameters import View

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision and PIL weigh grey
# Optical density in R, G, B of one unit of haematoxylin, of eosin, of DAB (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(_STAINS)


def recolours(view: View) -> bool | np.ndarray:
    """Return whether the colour matrix of a view is not the identity."""
    jitters = (view.brightness != 1) | (view.contrast != 1) | (view.saturation != 1) | (view.hue != 0)
    return jitters | (view.grayscale != 0)


def restains(view: View) -> bool | np.ndarray:
    """Return whether the stain matrix of a view is not the identity."""
    scales = (view.scale_h != 1) | (view.scale_e != 1) | (view.scale_d != 1)
    return scales | (view.shift_h != 0) | (view.shift_e != 0) | (view.shift_d != 0)


def colour_matrix(view: View) -> np.ndarray:
    """Return the matrix of a view's colour change, for RGB in any unit.

    Returns:
        (4, 3) or (4, 3, m): a row for each of R, G, B, and a fourth: its product with the picture's mean colour is added
        to all three.
    """
    trigonometry = math if isinstance(view.hue, float) else np  # numpy is slow for a single number
    cos, sin = trigonometry.cos(2 * math.pi * view.hue), trigonometry.sin(2 * math.pi * view.hue) / math.sqrt(3)
    p, q, r = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    turn = ((p, q, r), (r, p, q), (q, r, p))  # Rodrigues' formula about (1, 1, 1)
    gain, keep = view.brightness * view.contrast, view.saturation
    columns = []
    for luma, (red, green, blue) in zip(_LUMA, zip(*turn, strict=True), strict=True):
        turned = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
        grey = view.saturation_first * luma + (1 - view.saturation_first) * turned
        after = keep * turned + (1 - keep) * grey  # this channel's weight in the grey after hue and saturation
        grey = gain * (view.grayscale * after + (1 - view.grayscale) * (1 - keep) * grey)
        kept = gain * keep * (1 - view.grayscale)
        seen = view.contrast_first * luma + (1 - view.contrast_first) * after
        mean = view.brightness * (1 - view.contrast) * seen
        columns.append((kept * red + grey, kept * green + grey, kept * blue + grey, mean))
    return np.array(tuple(zip(*columns, strict=True)))


def stain_matrix(view: View) -> np.ndarray:
    """Return the matrix of a view's stain change, which applies to [ln R, ln G, ln B, 1] with R, G, B in (0, 1].

    Every stain's density is scaled, then shifted. Densities are -log10 of the transmitted light; stain vectors have
    unit length.

    Returns:
        (3, 4) or (m, 3, 4).
    """
    scale = np.stack((view.scale_h, view.scale_e, view.scale_d), axis=-1)[..., None]  # (..., 3, 1)
    shift = np.stack((view.shift_h, view.shift_e, view.shift_d), axis=-1)[..., None]
    return np.concatenate([_STAINS.T @ (scale * _UNMIX.T), -math.log(10) * (_STAINS.T @ shift)], axis=-1)

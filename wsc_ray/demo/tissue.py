"""Drawn H&E-like tissue, in which tumour differs from normal by the size and shape of its nuclei and by nothing else.

A patch is two maps, haematoxylin and eosin, that become RGB through optical density (Beer-Lambert; stain vectors after
Ruifrok and Johnston 2001 and Macenko 2009). Normal tissue mixes lymphocytes, spindle-shaped stromal nuclei and large
pale histiocytes, each regular and uniform; tumour nuclei are larger, differ in size from one to the next, are irregular, have
nucleoli and cleared chromatin, and some are in mitosis. How much of a patch is nucleus, how dark its nuclei are and how
its grey values spread are drawn without looking at the class, and the drawn map is remapped by rank to them: colour
statistics do not know the class. Stain, scanner light, focus and scale belong to the slide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

OVERSAMPLE = 2  # nuclei are drawn at twice the final size
_ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_HARMONICS = np.array([[2], [3], [4]]) * _ANGLES
_CANDIDATES = 120  # places tried for the nuclei of a kind
_MOULD = 1.14  # a nucleus drawn over another leaves this much of its own outline clear
_SHIFT = 4  # bits of sub-pixel position that OpenCV's drawing takes


@dataclass(frozen=True)
class Stain:
    """What one slide's laboratory and scanner do to every patch of it."""

    vectors: np.ndarray  # (2, 3): optical density in R, G, B of one unit of haematoxylin, of eosin
    white: np.ndarray  # (3,): R, G, B of empty glass
    blur: float  # sigma of the focus, px
    zoom: float  # size of all nuclei, relative


@dataclass(frozen=True)
class _Nuclei:
    """A kind of nucleus; lengths in px of the final patch, at about 0.9 um/px."""

    radius: tuple[float, float]  # the patch's mean radius, from-to
    spread: float  # sigma of log radius between nuclei of a patch
    elongation: tuple[float, float]
    irregular: float  # amplitude of the outline's harmonics, relative to the radius
    vesicular: float  # probability of a cleared centre within a dark membrane
    nucleoli: int  # most nucleoli a nucleus has
    mitosis: float  # probability
    gap: float  # least distance of neighbours, in sums of their radii


_LYMPHOCYTE = _Nuclei((3.2, 4.1), 0.07, (1.0, 1.15), 0.03, 0.0, 0, 0.0, 0.97)
_SPINDLE = _Nuclei((3.3, 4.4), 0.12, (2.2, 3.6), 0.03, 0.0, 0, 0.0, 0.75)
_HISTIOCYTE = _Nuclei((4.8, 6.4), 0.07, (1.1, 1.4), 0.03, 0.15, 1, 0.0, 0.97)
_TUMOUR = _Nuclei((6.0, 8.5), 0.33, (1.0, 1.7), 0.09, 0.95, 3, 0.08, 0.82)
_NORMAL = (_LYMPHOCYTE, _SPINDLE, _HISTIOCYTE)


def draw_stain(rng: np.random.Generator) -> Stain:
    """Draw one slide's stain: vectors, strengths, light, focus and scale."""
    vectors = np.array([[0.62, 0.70, 0.33], [0.14, 0.92, 0.36]]) + rng.normal(0, [[0.07], [0.06]], (2, 3))
    vectors = np.clip(vectors, 0.03, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(rng.normal(0, [0.16, 0.25]))
    return Stain(
        vectors=vectors * strength[:, None],
        white=rng.uniform(226, 252) + rng.normal(0, 3.5, 3),
        blur=rng.uniform(0.0, 0.55),
        zoom=float(np.exp(rng.normal(0, 0.08))),
    )


def draw_patch(rng: np.random.Generator, tumour: bool, stain: Stain, size: int = 64) -> np.ndarray:
    """Draw one patch.

    Args:
        rng: the only source of chance.
        tumour: whether tumour grows in it.
        stain: of the patch's slide.
        size: side, px.

    Returns:
        (size, size, 3) uint8, RGB.
    """
    side = size * OVERSAMPLE
    area = rng.uniform(0.26, 0.44)  # share of the patch that is nucleus, whatever the class
    drawn = np.zeros((side, side), np.uint8)
    taken = np.empty((0, 3))
    angle = rng.uniform(0, np.pi)  # of the fibres, which spindle nuclei follow
    for kind, share in _mixture(rng, tumour):
        taken = _draw_nuclei(rng, drawn, taken, kind, area * share * side * side, angle, stain.zoom * OVERSAMPLE)
    inside = cv2.resize((drawn > 0).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    chromatin = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    chromatin = cv2.GaussianBlur(chromatin, (3, 3), 0.5)
    chromatin += inside * 14 * _noise(rng, size, 2.0) + 9 * _noise(rng, size, 3.0)
    haematoxylin = _by_rank(chromatin, _haematoxylin_values(rng, area, size * size))

    fibrous = rng.uniform(0.2, 0.7)
    texture = fibrous * _fibres(rng, size, angle) + 0.7 * _noise(rng, size, 9.0) + 0.3 * _noise(rng, size, 2.0)
    level, contrast = rng.uniform(0.3, 0.42), rng.uniform(0.15, 0.35)
    eosin = _by_rank(texture, level * np.linspace(1 - contrast, 1 + contrast, size * size)) * (1 - 0.45 * inside)
    if rng.random() < 0.06:
        glass = 1 - _lumen(rng, size)
        haematoxylin, eosin = haematoxylin * glass, eosin * glass

    density = np.stack([haematoxylin, eosin], axis=-1).astype(np.float32)  # (h, w, 2)
    if stain.blur > 0.2:
        density = cv2.GaussianBlur(density, (0, 0), stain.blur, borderType=cv2.BORDER_REFLECT)
    image = stain.white * np.power(10.0, -(density @ stain.vectors.astype(np.float32)))
    image += rng.normal(0, 1.5, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _mixture(rng: np.random.Generator, tumour: bool) -> list[tuple[_Nuclei, float]]:
    """Return the kinds of nuclei in a patch and the share of the nuclear area that each has."""
    first, second = rng.choice(len(_NORMAL), 2, replace=False)
    share = rng.uniform(0.75, 1.0)
    main = _TUMOUR if tumour else _NORMAL[first]
    return [(main, share), (_NORMAL[second], 1 - share)]


def _draw_nuclei(
    rng: np.random.Generator,
    drawn: np.ndarray,
    taken: np.ndarray,
    kind: _Nuclei,
    area: float,
    angle: float,
    scale: float,
) -> np.ndarray:
    """Add nuclei of one kind to `drawn` until they cover `area` px.

    `taken`, (n, 3), holds x, y and radius of the nuclei there before; returned with the new ones.
    """
    side, count = len(drawn), _CANDIDATES
    radius = rng.uniform(*kind.radius) * scale * np.exp(kind.spread * np.clip(rng.normal(size=count), -1.5, 1.5))
    xy = rng.uniform(-radius, side + radius, (2, count))
    seen = np.clip(np.minimum(xy + radius, side) - np.maximum(xy - radius, 0), 0, None).prod(axis=0) * (np.pi / 4)
    chosen = _apart(np.vstack([taken, np.stack([*xy, radius], axis=1)]), len(taken), kind.gap)
    chosen = chosen[: np.searchsorted(np.cumsum(seen[chosen]), area) + 1]
    radius, (x, y), count = radius[chosen], xy[:, chosen], len(chosen)

    turn = angle + rng.normal(0, 0.25, count) if kind is _SPINDLE else rng.uniform(0, np.pi, count)
    outlines = _outlines(rng, radius, rng.uniform(*kind.elongation, count), turn, kind.irregular)
    dividing = rng.random(count) < kind.mitosis
    apart = radius * rng.uniform(0.3, 0.45, count) * (rng.random(count) < 0.4)  # of the halves of an anaphase
    plates = _outlines(rng, 0.55 * radius, np.full(count, 2.6), turn, 0.2)
    level = rng.integers(120, 215, count)
    vesicular = rng.random(count) < kind.vesicular
    nucleoli = rng.integers(0, kind.nucleoli + 1, count)
    for i in range(count):
        _fill(drawn, _MOULD * outlines[i], x[i], y[i], 0)
        if dividing[i]:
            dx, dy = -apart[i] * np.sin(turn[i]), apart[i] * np.cos(turn[i])
            _fill(drawn, plates[i], x[i] + dx, y[i] + dy, 245)
            if apart[i]:
                _fill(drawn, plates[i], x[i] - dx, y[i] - dy, 245)
            continue
        _fill(drawn, outlines[i], x[i], y[i], level[i])
        if vesicular[i]:
            _fill(drawn, 0.7 * outlines[i], x[i], y[i], level[i] - 80)
        for _ in range(nucleoli[i]):
            dx, dy, size = rng.normal(0, (0.28, 0.28, 0.03)) * radius[i]
            _fill(drawn, (0.22 * radius[i] + size) * _CIRCLE, x[i] + dx, y[i] + dy, 250)
    return np.vstack([taken, np.stack([x, y, radius], axis=1)])


def _apart(discs: np.ndarray, fixed: int, gap: float) -> np.ndarray:
    """Return the indices, counted from `fixed` on, of discs (n, 3) taken in turn where they keep `gap` from those taken."""
    x, y, radius = discs.T
    close = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 < (gap * (radius[:, None] + radius)) ** 2
    blocked = close[:fixed].any(axis=0)
    chosen = []
    for i in range(fixed, len(discs)):
        if not blocked[i]:
            chosen.append(i - fixed)
            blocked |= close[i]
    return np.array(chosen, np.int64)


def _outlines(
    rng: np.random.Generator, radius: np.ndarray, elongation: np.ndarray, turn: np.ndarray, irregular: float
) -> np.ndarray:
    """Return outlines, (n, 20, 2) px around (0, 0): ellipses of the given mean radii with low harmonics added."""
    waves = rng.normal(0, irregular, (2, len(radius), len(_HARMONICS)))
    r = radius[:, None] * np.maximum(1 + waves[0] @ np.cos(_HARMONICS) + waves[1] @ np.sin(_HARMONICS), 0.5)
    stretch = np.sqrt(elongation)[:, None]
    along, across = r * _CIRCLE[:, 0] * stretch, r * _CIRCLE[:, 1] / stretch
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    return np.stack([along * cos - across * sin, along * sin + across * cos], axis=2)


def _fill(drawn: np.ndarray, outline: np.ndarray, x: float, y: float, level: int) -> None:
    points = ((outline + (x, y)) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(drawn, [points], color=int(level), lineType=cv2.LINE_8, shift=_SHIFT)


def _haematoxylin_values(rng: np.random.Generator, area: float, count: int) -> np.ndarray:
    """Return the sorted haematoxylin values of a patch: background, a soft edge, nuclei of varied darkness."""
    u = np.linspace(0, 1, count)
    dark, pale = rng.uniform(0.65, 0.95), rng.uniform(0.03, 0.1)
    nucleus = dark * (0.5 + 0.75 * np.clip((u - 1 + area) / area, 0, 1) ** 1.3)
    edge = 1 / (1 + np.exp(-(u - 1 + area) / 0.035))
    return pale * (0.4 + u) * (1 - edge) + nucleus * edge


def _by_rank(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return `image` with its values replaced, smallest by smallest, by the sorted `values`."""
    result = np.empty(image.size, np.float32)
    low, high = image.min(), image.max()
    levels = ((image - low) * (65535 / (high - low))).astype(np.uint16)  # 16 bits: NumPy sorts them by radix
    result[np.argsort(levels, axis=None, kind="stable")] = values
    return result.reshape(image.shape)


def _noise(rng: np.random.Generator, size: int, grain: float) -> np.ndarray:
    """Return smooth noise, (size, size), of about unit variance, with blobs of about `grain` px."""
    cells = max(2, round(size / grain) + 1)
    return cv2.resize(
        rng.standard_normal((cells, cells), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )


def _fibres(rng: np.random.Generator, size: int, angle: float) -> np.ndarray:
    """Return wavy streaks, (size, size), along `angle`."""
    streaks = rng.standard_normal((size // 2, 8), dtype=np.float32)
    streaks = cv2.resize(streaks, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:size, :size].astype(np.float32) - size / 2
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    across = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))
    wave = rng.uniform(0.5, 4) * np.sin(along * (2 * np.pi / rng.uniform(30, 70)) + rng.uniform(0, 2 * np.pi))
    return cv2.remap(
        streaks, along + size, across + wave.astype(np.float32) + size, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def _lumen(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one rounded gap with a soft edge, (size, size), from 0 to 1."""
    gap = np.zeros((size, size), np.uint8)
    x, y = rng.uniform(0, size, 2)
    outline = _outlines(rng, rng.uniform(0.08, 0.2, 1) * size, rng.uniform(1, 2, 1), rng.uniform(0, np.pi, 1), 0.08)[0]
    _fill(gap, outline, x, y, 255)
    return cv2.GaussianBlur(gap, (0, 0), 0.8).astype(np.float32) * (0.95 / 255)

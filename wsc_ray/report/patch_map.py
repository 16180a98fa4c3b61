"""A map of patches by their features, and how often similar patches share a slide, a site or a label.

The map is the plane of the first two principal components. Since it flattens the features, a measure in all dimensions stands beside it:
how many of a patch's nearest patches, by the cosine of their features, have the patch's own value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from wsc_ray.report.charts import COLOURS, SHAPES, Chart, Table, quantitative, sized
from wsc_ray.report.looks import Look

POINTS = 1200  # patches of a map at most
NEAREST = 10
_LEGEND = 8  # values that a legend names
_UNKNOWN = "not known"


@dataclass(frozen=True, eq=False)
class Sample:
    """n patches of several slides: `features` (n, D), and by name (`slide`, `label`, ...) the values that colour them, (n,) each."""

    features: np.ndarray
    values: Mapping[str, np.ndarray]


class Sampler:
    """Gathers the same number of patches from each slide, always the same patches.

    Args:
        slides: number of slides to come.
        facts: a name such as `label` -> slide id -> the slide's value.
    """

    def __init__(self, slides: int, facts: Mapping[str, Mapping[str, str | None]]):
        self._each = max(1, POINTS // max(1, slides))
        self._facts = facts
        self._features: list[np.ndarray] = []
        self._values: dict[str, list[str]] = {"slide": [], **{name: [] for name in facts}, "patch label": []}

    def add(self, look: Look) -> None:
        """Take patches from a slide."""
        if look.features is None:
            return
        count = min(self._each, len(look.features))
        rows = np.sort(np.random.default_rng(0).permutation(len(look.features))[:count])
        self._features.append(look.features[rows])
        self._values["slide"] += [look.slide] * count
        for name, known in self._facts.items():
            self._values[name] += [known.get(look.slide) or _UNKNOWN] * count
        labels = np.full(count, -1) if look.patch_labels is None else look.patch_labels[rows]
        self._values["patch label"] += [_UNKNOWN if each < 0 else "positive" if each else "negative" for each in labels]

    def sample(self) -> Sample | None:
        """Return the patches; None if there are fewer than three. A value that is unknown for all patches is left out."""
        if sum(map(len, self._features)) < 3:
            return None
        values = {name: np.array(each) for name, each in self._values.items() if set(each) != {_UNKNOWN}}
        return Sample(np.concatenate(self._features), values)


def map_charts(run: str, sample: Sample) -> list[Chart]:
    """Return a map of a result's patches for each value that colours them; none if features are not finite or all equal."""
    features = sample.features.astype(np.float64)
    if not np.isfinite(features).all() or not features.std(axis=0).any():
        return []
    pca = PCA(2, svd_solver="full").fit(features) if features.shape[1] > 1 else None
    places = np.column_stack([features, 0 * features]) if pca is None else pca.transform(features)
    explained = [1.0, 0.0] if pca is None else pca.explained_variance_ratio_.tolist()
    shares = {name: neighbour_share(sample, name) for name in sample.values}
    rows = [
        {"x": round(x, 3), "y": round(y, 3), **{_field(name): str(each[row]) for name, each in sample.values.items()}}
        for row, (x, y) in enumerate(places.tolist())
    ]
    return [_chart(run, name, sample, rows, shares[name], explained) for name in sample.values]


def neighbour_share(sample: Sample, name: str) -> tuple[float, float] | None:
    """Return the share of the `NEAREST` nearest patches that have a patch's own value, and the share by chance.

    Patches of the same slide do not count, unless the value is the slide. Patches without a value are left out.
    Return None if fewer than two values are left, or if no patch has a nearest patch that counts.
    """
    values, slides = sample.values[name], sample.values["slide"]
    known = values != _UNKNOWN
    values, slides = values[known], slides[known]
    if len(set(values.tolist())) < 2:
        return None
    lengths = np.linalg.norm(sample.features[known], axis=1, keepdims=True)
    unit = sample.features[known] / np.maximum(lengths, 1e-12)
    cosines = unit @ unit.T
    mine = np.eye(len(values), dtype=bool) if name == "slide" else slides[:, None] == slides[None, :]
    cosines[mine] = -np.inf
    k = min(NEAREST, len(values) - 1)
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    counts = np.isfinite(np.take_along_axis(cosines, nearest, axis=1))
    if not counts.any():
        return None
    same = values[nearest] == values[:, None]
    chance = ((values[:, None] == values[None, :]) & ~mine).sum() / (~mine).sum()
    return float(same[counts].mean()), float(chance)


def _chart(
    run: str,
    name: str,
    sample: Sample,
    rows: Sequence[Mapping[str, object]],
    share: tuple[float, float] | None,
    explained: Sequence[float],
) -> Chart:
    found, counts = np.unique(sample.values[name], return_counts=True)
    order = found[np.argsort(-counts, kind="stable")].tolist()
    few = len(found) <= _LEGEND
    scale: dict[str, object] = {"domain": order} if few else {"scheme": "rainbow"}
    if few:
        scale["range"] = ["#8a8a8a" if each == _UNKNOWN else COLOURS[n] for n, each in enumerate(order)]
    shapes = {"domain": order, "range": [SHAPES[n] for n in range(len(order))]} if few else {}
    text = "only one value is known"
    if share is not None:
        whose = "" if name == "slide" else " of other slides"
        text = f"of the {NEAREST} nearest patches{whose}, {share[0]:.0%} have the same {name}; chance would give {share[1]:.0%}"
    spec = {
        "data": {"name": "patches"},
        "mark": {"type": "point", "filled": True, "size": 22, "opacity": 0.7, "tooltip": {"content": "data"}},
        "encoding": {
            "x": quantitative(
                "x", f"component 1 ({explained[0]:.0%} of variance)", grid=False, labels=False, ticks=False
            ),
            "y": quantitative("y", f"component 2 ({explained[1]:.0%})", grid=False, labels=False, ticks=False),
            "color": {
                "field": _field(name),
                "type": "nominal",
                "scale": scale,
                "legend": {"title": None} if few else None,
            },
            **(
                {"shape": {"field": _field(name), "type": "nominal", "scale": shapes, "legend": {"title": None}}}
                if few
                else {}
            ),
        },
    }
    many = "" if few else f" Each of the {len(found)} values has a colour of its own; point at a patch to read it."
    table = Table((name, "patches"), [[value, int(counts[found.tolist().index(value)])] for value in order[:20]])
    return Chart(
        f"{run}: by {name}",
        f"Map of {len(rows):,} patches of {run} by {name}: {text}.",
        sized(spec, 300),
        {"patches": rows},
        table,
        f"{text[0].upper()}{text[1:]}.{many}",
    )


def _field(name: str) -> str:
    return name.replace(" ", "_")

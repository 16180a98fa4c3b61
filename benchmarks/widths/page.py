"""The results as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.evidence.page import NAMES
from benchmarks.evidence.pool import SIZE
from benchmarks.widths.run import FRACTION, FROZEN, HELD, MEASURES, SETTINGS, cell
from wsc_ray.bench.markdown import environment, table

TITLES = {
    "linear": "Patches: a linear classifier on patch labels",
    "distance": "Patches: distance from the centre of negative slides, without patch labels",
    "abmil": "Slides: ABMIL on slide labels",
}
OURS = "weaksupcon"


def page(summary: Mapping[str, Any], results: Sequence[dict[str, Any]]) -> str:
    """Return the whole page."""
    options = summary["options"]
    chosen = "; ".join(f"{NAMES[method]}: {setting}" for method, setting in SETTINGS.items())
    parts = [
        "# What few numbers keep",
        f"Adapters on frozen ImageNet features (EfficientNet-Lite0 at {summary['pixels']} px, {options['views']} augmented views of each "
        f"patch), whose output has few numbers, so that a method has to choose what it keeps. Pseudo-slides are {SIZE} patches of one stain "
        f"group of PatchCamelyon's part `train`; {FRACTION:.0%} of a positive one are tumour. Two of ten stain groups are held out in turn "
        f"({len(HELD)} times): {2 * options['pairs']} pseudo-slides of the others train adapters and heads, and all patches and "
        f"{2 * options['held_pairs']} pseudo-slides of the held-out groups judge them. The part `valid` is not touched.",
        f"Every cell is the mean AUROC over held-out groups and seeds ({options['seeds']} for each), with the least and the largest. Below it "
        "WeakSupCon less the others, held-out groups and seeds paired, with the number of pairs in which it is ahead.",
        f"{chosen}; the network is 1280 -> 256 -> width, head 128 -> 128. The settings are not chosen by these figures, but earlier trials "
        "with other settings looked at the same groups.",
        environment(summary),
        *(part for measure in MEASURES for part in _of_measure(results, options["widths"], measure)),
    ]
    return "\n\n".join(parts) + "\n"


def _of_measure(results: Sequence[dict[str, Any]], widths: Sequence[int], measure: str) -> list[str]:
    frozen = _cell(cell(results, FROZEN, None, measure))
    others = [method for method in SETTINGS if method != OURS]
    differences = []
    for width in widths:
        ours = np.array(cell(results, OURS, width, measure))
        gains = [ours - np.array(cell(results, method, width, measure)) for method in others]
        differences.append([str(width), *(f"{gain.mean():+.3f}, {(gain > 0).sum()} of {len(gain)}" for gain in gains)])
    return [
        f"## {TITLES[measure]}",
        table(
            ["numbers", *(NAMES[method] for method in SETTINGS)],
            [[str(width), *(_cell(cell(results, method, width, measure)) for method in SETTINGS)] for width in widths],
        ),
        table(["WeakSupCon less", *(NAMES[method] for method in others)], differences),
        f"The frozen features, 1280 numbers: {frozen}.",
    ]


def _cell(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"

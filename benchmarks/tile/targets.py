"""The targets of cutting, judged from the figures."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.markdown import times
from wsc_ray.bench.markdown import size
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN, Verdict
from wsc_ray.slides.tile_cache import BYTES

FASTER, OTHERS = 3.0, 1.0  # of an OpenSlide loop: JPEG tiles, and all else, which OpenSlide reads in either case
MEMORY = BYTES + (64 << 20)


def verdicts(
    ratios: Mapping[str, float], jpeg: Mapping[str, bool], peaks: Mapping[int, int], quick: bool
) -> list[Verdict]:
    """Every target and whether it is reached.

    Args:
        ratios: slide -> ours to the loop, patches a CPU second.
        jpeg: slide -> whether its tiles are JPEG.
        peaks: side of a slide, px -> bytes.
        quick: nothing is judged.
    """
    fast = {name: ratio for name, ratio in ratios.items() if jpeg[name]}
    rest = {name: ratio for name, ratio in ratios.items() if not jpeg[name]}
    judged = [
        (f"slides with JPEG tiles: at least {FASTER:g}x an OpenSlide loop a core", fast, FASTER),
        (f"other slides: at least {OTHERS:g}x", rest, OTHERS),
    ]
    found = [
        Verdict(
            target,
            UNKNOWN if quick or not these else REACHED if min(these.values()) >= least else MISSED,
            ", ".join(f"{name} {times(ratio)}" for name, ratio in these.items()),
        )
        for target, these, least in judged
    ]
    told = ", ".join(f"{side:,} px: {size(peak)}" for side, peak in peaks.items())
    held = REACHED if max(peaks.values(), default=0) <= MEMORY else MISSED
    return [*found, Verdict(f"memory within {size(MEMORY)} whatever a slide's size", UNKNOWN if quick else held, told)]

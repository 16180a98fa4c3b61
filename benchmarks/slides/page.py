"""The page, and the text that the command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import times
from benchmarks.slides.measure import JPEG, LINKED, LOSSLESS, VISITS, WSISTREAM
from wsc_ray.bench.markdown import digits, environment, size, table

WHO = (
    f"* {LINKED}: a manifest of `tile --link`; stored JPEG tiles are decoded when a window of steps needs them, once for all its patches on them.",
    f"* {LOSSLESS}: the same rows with their pixels in the manifest, as PNG.",
    f"* {JPEG}: the manifest that `tile` writes without `--link` (quality 90); its pixels are not the same.",
    f"* {WSISTREAM}: its PyTorch dataset in a DataLoader, OpenSlide, Otsu's tissue, random squares, its default pool of 8 slides with 100 patches each. "
    "It has what is fastest where its defaults cost time: uint8, no filter, a cache of all tissue masks, which is filled before the first round.",
    f"* {list(VISITS)[1]}: the same with `patches_per_visit=16`, which it has for throughput.",
)
LEGEND = (
    "Median (first to third quartile) over rounds in which everybody has a turn, with so many processes that read, on the same cores; ratios are taken within each round. "
    "Per CPU second: by what all processes that take part used, those of Ray, of the DataLoader and the receiving one too."
)
MIXING = (
    "Means over the batches of an epoch (every patch of the manifest about once; as many batches of wsistream): the number of slides in a batch, what it is of the number when the "
    "same patches are fully shuffled, and the share of a batch that its most frequent slide has. The measure is that of `python -m wsc_ray.stream.mixing`, over whole batches, half pure "
    "and half mixed. The order of wsc-ray does not depend on the number of workers; each worker of wsistream makes whole batches from slides of its own, and mixes as many as "
    "its pool holds, which is a setting (`pool_size`). The more slides a cohort has, the fewer of them a window of ours holds: README has a table for 270 slides of a class."
)


def rates(speeds: Sequence[Mapping[str, Any]]) -> str:
    """A row a contender and number of workers.

    Args:
        speeds: `name`, `workers`, `wall` and `cpu` (quartiles of patches a second), and where there is a baseline `wall_ratio` and `cpu_ratio`.
    """
    rows = [
        [
            str(speed["workers"]),
            speed["name"],
            *(
                cell
                for per in ("wall", "cpu")
                for cell in (_spread(speed[per]), times(speed[f"{per}_ratio"]["median"]) if speed["baseline"] else "")
            ),
        ]
        for speed in speeds
    ]
    return table(["workers", "", "patches/s", f"x {WSISTREAM}", "patches/CPU s", f"x {WSISTREAM}"], rows)


def mixing(found: Sequence[Mapping[str, Any]]) -> str:
    """A row an order of batches; see `measure_mixing`."""
    rows = [
        [
            str(one["workers"] or "any"),
            one["name"],
            digits(one["slides"]),
            digits(one["ratio"], 2),
            digits(one["largest_share"], 2),
        ]
        for one in found
    ]
    first = found[0]
    shuffled = ["", "shuffled", digits(first["shuffled_slides"]), "1", digits(first["shuffled_largest_share"], 2)]
    return table(
        ["workers", "", "slides in a batch", "relative to shuffled", "largest slide's share"], [*rows, shuffled]
    )


def disk(bytes_of: Mapping[str, int]) -> str:
    """A row for the slides and for each manifest: bytes."""
    return table(["", "on the disk"], [[name, size(count)] for name, count in bytes_of.items()])


def page(summary: Mapping[str, Any]) -> str:
    """The whole page."""
    settings = summary["settings"]
    sections = [
        "# Training straight from slides",
        f"Patches of {settings['patch']} px, level 0 of {settings['slides']} slides ({settings['drawn']} drawn, {settings['side']:,} px wide, with tiles of 240 px in JPEG as "
        f"Aperio's scanners write them{settings['given']}), {settings['patches']:,} patches in all, as uint8 batches of {settings['batch_size']} in the process that would train, without augmentation:",
        "\n".join(WHO),
        f"To repeat it: `{summary['invocation']}` on a quiet machine, with `pip install wsistream=={summary['versions']['wsistream'] or '0.1.6'}`.",
        environment(summary),
        *summary["notes"],
        "## Rates",
        LEGEND,
        rates(summary["speeds"]),
        "## Mixing",
        MIXING,
        mixing(summary["mixing"]),
        "## The same patches",
        f"The benchmark fails if {settings['compared']:,} patches of a window that rows point to are not those that OpenSlide has read into the lossless manifest, bit for bit, with the same places, labels and "
        "parameters in the same order, or if patches of wsistream are not those at their places. That two epochs have one digest for both manifests, for 1 and 2 workers, and also when the run "
        "was killed and resumed, is tested in `tests/tiling/test_link.py`.",
        disk(summary["bytes"]),
    ]
    return "\n\n".join(sections) + "\n"


def printed(summary: Mapping[str, Any]) -> str:
    """What the command prints."""
    parts = [rates(summary["speeds"]), LEGEND, mixing(summary["mixing"]), MIXING, disk(summary["bytes"])]
    return "\n\n".join([*parts, *summary["notes"]])


def _spread(quartiles: Mapping[str, float]) -> str:
    return f"{digits(quartiles['median'])} ({digits(quartiles['q1'])}-{digits(quartiles['q3'])})"

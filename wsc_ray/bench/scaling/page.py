"""The scaling benchmark as Markdown: the tables that are printed, and the whole page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsc_ray.bench.markdown import digits, environment, seconds, size, table
from wsc_ray.bench.scaling.figures import Figures, base_of, efficiency
from wsc_ray.bench.scaling.project import Projection
from wsc_ray.pretrain.clock import PHASES

LEGEND = (
    "Efficiency: a worker's patches a second as a share of a worker's among the fewest workers, the median of the rounds' ratios. "
    "A step takes as long as its slowest worker's. wait: for data; encode: pixels to features and back, with both passes; "
    "loss: with its gradient; communication: in the loss's collectives, and in the gradients' after the encoder's backward pass has ended; the phases are shares of the workers' time. "
    "Bytes: that each worker gives to a step's collectives, the loss's + the gradients'."
)


TITLES = {
    "training": "Training",
    "data": "The data alone, received and dropped",
    "mock": "The data, and a model that takes a given time",
}


def tables(found: Sequence[Figures]) -> str:
    """A table for each work that was measured."""
    parts = []
    for work, title in TITLES.items():
        rows = [one for one in found if one.setting.work == work]
        if rows:
            parts += [f"## {title}", _table(rows)]
    return "\n\n".join([*parts, LEGEND])


def _table(rows: Sequence[Figures]) -> str:
    trains = rows[0].setting.work == "training"
    phases = PHASES if trains else ("wait",)  # without training, what is not waiting is the given time
    header = ["scaling", "workers", "batch", "patches/s", "a worker", "efficiency", "step p50", "p95", *phases]
    lines = []
    for one in sorted(rows, key=lambda one: (one.setting.mode != "weak", one.setting.workers)):
        setting = one.setting
        lines.append(
            [
                setting.mode,
                str(setting.workers),
                str(setting.batch_size),
                digits(one.rate),
                digits(one.rate_per_worker),
                digits(efficiency(one, base_of(rows, one))),
                seconds(one.p50),
                seconds(one.p95),
                *(f"{100 * one.shares[phase]:.1f}%" for phase in phases),
                *([f"{one.loss_bytes:,.0f} + {one.gradient_bytes:,.0f}"] if trains else []),
                "unknown" if one.spilled is None else size(one.spilled),
            ]
        )
    return table([*header, *(["bytes"] if trains else []), "spilled"], lines)


def projection_section(rows: Sequence[Projection], assumed: Mapping[str, Any]) -> str:
    """The projected rows under what they assume."""
    header = ["workers (projected)", "step", "patches/s", "efficiency", "hours", "dollars"]
    lines = [
        [
            str(row.workers),
            seconds(row.step),
            digits(row.rate),
            digits(row.efficiency),
            digits(row.hours),
            "-" if row.price is None else digits(row.price),
        ]
        for row in rows
    ]
    price = "no price" if assumed["price"] is None else f"{assumed['price']:g} dollars a worker and hour"
    said = (
        "**A projection, not a measurement.** Assumed: each worker's encode, loss and optimizer times as measured here with the "
        f"fewest workers ({assumed['batch_size']} patches of each worker; all of the loss's time growing with the global batch, which is the "
        "most it can), each worker being what it was here, data that "
        f"never waits, ring collectives over {assumed['network']:g} Gbit/s with {assumed['latency']:g} us latency and nothing "
        f"overlapped, {assumed['cohort']:,} patches for {assumed['epochs']} epochs, {price}."
    )
    return "\n\n".join(["## Projection", said, table(header, lines)])


def page(summary: Mapping[str, Any], body: str, judged: str) -> str:
    """The whole page.

    Args:
        body: its tables, and the projection where there is one.
        judged: the table of targets.
    """
    settings = summary["settings"]
    sections = [
        "# Scaling over workers",
        f"{settings['backbone']} on {settings['crop']} px views, {settings['steps']} steps after {settings['warm_up']} of warm-up, "
        f"{settings['rounds']} round(s). Weak scaling: {settings['batch_size']} patches of each worker a step; strong: the global "
        "batch of the fewest workers.",
        f"To repeat it: `{summary['invocation']}` on a quiet machine.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        judged,
        body,
    ]
    return "\n\n".join(sections) + "\n"

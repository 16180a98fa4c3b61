"""The scaling benchmark as Markdown: the tables for the terminal, and the whole page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsc_ray.bench.markdown import digits, environment, seconds, size, table
from wsc_ray.bench.scaling.figures import Figures, base_of, efficiency
from wsc_ray.bench.scaling.project import Projection
from wsc_ray.pretrain.clock import PHASES

LEGEND = (
    "Efficiency: patches per second and worker, relative to those with the smallest number of workers; the median of the rounds' ratios. "
    "A step's time is that of its slowest worker. wait: waiting for data; encode: forward and backward pass of the encoder; "
    "loss: the loss and its gradient; communication: the loss's collectives, and those of the gradients after the encoder's backward pass; the phases are shares of the workers' time. "
    "Bytes: sent by each worker to a step's collectives, those of the loss + those of the gradients."
)


TITLES = {
    "training": "Training",
    "data": "Data alone, received and dropped",
    "mock": "Data, and a model that takes a given time",
}


def tables(measured: Sequence[Figures]) -> str:
    """Return one table for each kind of work that was measured."""
    parts = []
    for work, title in TITLES.items():
        rows = [one for one in measured if one.setting.work == work]
        if rows:
            parts += [f"## {title}", _table(rows)]
    return "\n\n".join([*parts, LEGEND])


def _table(rows: Sequence[Figures]) -> str:
    trains = rows[0].setting.work == "training"
    phases = PHASES if trains else ("wait",)  # without training, all other time is the time given for the model
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
    """Return the projection's table with its assumptions."""
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
    price = "no price" if assumed["price"] is None else f"{assumed['price']:g} dollars per worker and hour"
    assumptions = (
        "**A projection, not a measurement.** Assumed: each worker's encode, loss and optimizer times as measured here with the "
        f"smallest number of workers ({assumed['batch_size']} patches per worker; the loss's whole time grows with the global batch, which is the "
        "most it can), workers as fast as here, data that "
        f"is never waited for, ring collectives over {assumed['network']:g} Gbit/s with {assumed['latency']:g} us latency and nothing "
        f"overlapped, {assumed['cohort']:,} patches for {assumed['epochs']} epochs, {price}."
    )
    return "\n\n".join(["## Projection", assumptions, table(header, lines)])


def page(summary: Mapping[str, Any], body: str, judged: str) -> str:
    """Return the whole page.

    Args:
        body: the tables, and the projection if there is one.
        judged: the table of targets.
    """
    settings = summary["settings"]
    sections = [
        "# Scaling over workers",
        f"{settings['backbone']} on {settings['crop']} px views, {settings['steps']} steps after {settings['warm_up']} of warm-up, "
        f"{settings['rounds']} round(s). Weak scaling: {settings['batch_size']} patches per worker and step; strong: the global "
        "batch of the smallest number of workers.",
        f"To repeat it: `{summary['invocation']}` on a quiet machine.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        judged,
        body,
    ]
    return "\n\n".join(sections) + "\n"

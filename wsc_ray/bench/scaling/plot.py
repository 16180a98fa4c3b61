"""A picture of the throughput and of the parts of each step's time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsc_ray.bench.scaling.figures import Figures, base_of
from wsc_ray.pretrain.clock import PHASES


def plot(measured: Sequence[Figures], path: Path) -> None:
    """Write a PNG with patches per second over workers, the ideal as dotted lines, and the phases of a step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    lines = sorted({(one.setting.work, one.setting.mode) for one in measured})
    for number, (work, mode) in enumerate(lines):
        points = sorted(
            (one for one in measured if (one.setting.work, one.setting.mode) == (work, mode)),
            key=lambda one: one.setting.workers,
        )
        workers = [one.setting.workers for one in points]
        base = base_of(measured, points[0])
        left.plot(workers, [one.rate for one in points], "o-", color=f"C{number}", label=f"{work}, {mode}")
        left.plot(workers, [count * base.rate_per_worker for count in workers], ":", color=f"C{number}")
    left.set_xscale("log", base=2)
    left.set_yscale("log", base=2)
    counts = sorted({one.setting.workers for one in measured})
    left.set_xticks(counts, [str(count) for count in counts])
    left.set(xlabel="workers", ylabel="patches per second", title="throughput (dotted: ideal scaling)")
    left.legend()
    bars = [one for one in measured if one.setting.work != "data"] or list(measured)
    names = [f"{one.setting.workers}\n{one.setting.mode}" for one in bars]
    below = [0.0] * len(bars)
    for phase in PHASES:
        heights = [1e3 * one.seconds[phase] for one in bars]
        right.bar(range(len(bars)), heights, bottom=below, label=phase)
        below = [bottom + height for bottom, height in zip(below, heights, strict=True)]
    right.set_xticks(range(len(bars)), names)
    right.set(ylabel="ms of a worker's step", title="phases of a step")
    right.legend()
    figure.savefig(path, dpi=120)

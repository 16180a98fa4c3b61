"""`wsc-ray report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

from wsc_ray.command import Option, Where, command


@command(
    "report",
    reads="`RUN`",
    writes="`DIR/report.html`",
    sent=True,
    resources=lambda recipe: {"process": "1, on the head"},
)
def report(
    *,
    runs: Annotated[Sequence[str | Path], Option(metavar="RUN...", argument=True, kind="paths")],
    out: Annotated[str | Path, Option("Folder for report.html.", metavar="DIR", kind="path")],
    slides: Annotated[int, Option("Test slides and predicted slides to show at most.", least=1, most=1000)] = 100,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Write one HTML page of a run, or of several side by side.

    The page has metrics with intervals, curves, attention maps, patches and lineage, and needs no network. A RUN is a run
    folder, a folder of `evaluate` or `predict`, or a feature store; missing parts are left out, and the page says so. Of a prediction
    the page has each slide's probabilities and their scatter, attention, and the slides that failed; it shows no labels.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.errors`; then nothing has been written.
    """
    from wsc_ray.report.run import write_report

    return write_report(runs=runs, out=out, slides=slides)

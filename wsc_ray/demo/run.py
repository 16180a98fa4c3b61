"""The command: the whole way on a synthetic cohort, for four encoders, with one table and one picture at the end.

An encoder of pixels is trained without labels. Then three methods adapt its features with slide labels, or without, into two numbers a
patch, so that each has to choose what it keeps. The demo calls what the commands call and nothing else; each run folder that it leaves can be
gone on with by hand.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsc_ray.demo.cohort import write_cohort
from wsc_ray.demo.picture import PICTURE, TestPatches, draw, read_test_patches
from wsc_ray.demo.recipes import METHODS, NUMBERS, PIXELS, VIEWS, adapter_recipe, pixel_recipe
from wsc_ray.evaluate.run import evaluate_head
from wsc_ray.features.embed import embed_slides
from wsc_ray.files import read_summary, write_summary
from wsc_ray.manifest.check import check_manifest
from wsc_ray.manifest.importing import import_manifest
from wsc_ray.mil.search import search_head
from wsc_ray.places import local_path
from wsc_ray.pretrain.run import pretrain_encoder
from wsc_ray.ray_session import ray_session
from wsc_ray.report.run import REPORT, write_report
from wsc_ray.stage import claim_folder, refuse_other, write_identity

ENCODERS = (*METHODS, PIXELS)
_TITLES = {"weaksupcon": "WeakSupCon", "simclr": "SimCLR", "supcon": "SupCon", PIXELS: "before adapting"}
_COHORT = "2 of 24"  # tumour patches of a positive slide; demos of older versions had more
_TUMOUR = 2 / 24  # share of a positive slide's patches


def run_demo(*, out: str | Path, seed: int, quick: bool) -> dict[str, Any]:
    """Run the demo; the same call goes on where an interrupted one stopped.

    Args:
        out: folder for the cohort, the report, the picture, and a run folder for each encoder.
        seed: of the cohort and of training.
        quick: a few steps of everything; the table means nothing then.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of name, value and unit, and the `table` as text.

    Raises:
        RunFolderError: `out` is taken by something else, or by a demo of another seed or size.
    """
    out = local_path(out)
    identity = {"seed": seed, "quick": quick, "cohort": _COHORT}
    known = claim_folder("demo", out)
    if known is not None:
        refuse_other(out, "a demo", known, identity)
    write_identity(out, "demo", identity)
    say = _Stages(2 + 4 * len(ENCODERS))
    started = time.time()
    say(
        "drawing a cohort: one label a slide, 2 tumour patches of 24 in a positive one, a stain of its own for every slide"
    )
    manifest = _cohort(out, seed, quick)
    uri = None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{out}/mlflow.db"
    shared: dict[str, Any] = {"tracking": uri, "seed": seed, "quick": quick}
    results = {}
    with ray_session():
        say("pixels: SimCLR from random weights on 2 workers, without labels")
        pretrain_encoder(recipe=pixel_recipe(manifest, **shared), out=out / PIXELS)
        say(f"pixels: embedding every patch and {VIEWS} views of it")
        embed_slides(run=out / PIXELS, views=VIEWS)
        results[PIXELS] = _judge(PIXELS, out / PIXELS, say)
        for method in METHODS:
            run = out / method
            say(f"{method}: an adapter of these features, {NUMBERS} numbers a patch")
            pretrain_encoder(recipe=adapter_recipe(method, out / PIXELS / "features", **shared), out=run)
            say(f"{method}: embedding every patch")
            embed_slides(run=run)
            results[method] = _judge(method, run, say)
    say("writing the report and the picture")
    write_report(runs=[out / name for name in ENCODERS], out=out / "report")
    patches = {name: read_test_patches(out / name / "features") for name in ENCODERS}
    draw({_TITLES[name]: patches[name] for name in ENCODERS}, out / PICTURE)
    rows = [_row(name, results[name], patches[name]) for name in ENCODERS]
    summary = {
        "results": [each for row in rows for each in row.results()],
        "table": _table(rows),
        "report": str(out / "report" / REPORT),
        "picture": str(out / PICTURE),
        "seconds": round(time.time() - started, 1),
        "look": results[ENCODERS[0]]["mlflow"]["look"],
    }
    return write_summary(out, "demo", summary)


def _judge(name: str, run: Path, say: _Stages) -> dict[str, Any]:
    """Search an MIL head on a run's features, and evaluate it; return the summary of the evaluation."""
    say(f"{name}: searching an MIL head on training and validation slides")
    search_head(run=run)
    say(f"{name}: evaluating it on test slides")
    return evaluate_head(run=run)


class _Stages:
    """Numbers the stages as they begin, on stderr."""

    def __init__(self, total: int):
        self.total, self.number = total, 0

    def __call__(self, what: str) -> None:
        self.number += 1
        print(f"[{self.number}/{self.total}] {what}", file=sys.stderr, flush=True)


def _cohort(out: Path, seed: int, quick: bool) -> Path:
    """Draw, import and check the cohort, where that is not done yet, and return its manifest's folder."""
    manifest = out / "manifest"
    if read_summary(manifest) is None:
        table = out / "cohort" / "patches.parquet"
        if not table.exists():
            sizes: dict[str, Any] = {"slides": (12, 6, 8), "patches_per_slide": 12} if quick else {}
            write_cohort(table.parent, seed=seed, tumour_fraction=(_TUMOUR, _TUMOUR), **sizes)
        import_manifest(
            source=str(table),
            out=str(manifest),
            columns={"label": "slide_label"},
            label_names={"0": "negative", "1": "positive"},
            row_group_rows=32,  # a slide or two, so that every shard of so small a cohort holds many
        )
    check_manifest(manifest=str(manifest))
    return manifest


@dataclass(frozen=True)
class _Row:
    """A line of the table: metrics of the head on test slides with their intervals, and of the features of test patches.

    Attributes:
        numbers: width of the features.
        distance: AUROC for tumour patches of the distance from normal tissue.
    """

    name: str
    numbers: int
    balanced_accuracy: Mapping[str, Any]
    auroc: Mapping[str, Any]
    attention: Mapping[str, Any]
    distance: float

    def results(self) -> list[dict[str, Any]]:
        """Return the figures as a benchmark's: name, value and unit."""
        values = {
            "balanced_accuracy": self.balanced_accuracy["value"],
            "auroc": self.auroc["value"],
            "attention_auroc": self.attention["value"],
            "distance_auroc": self.distance,
        }
        return [
            {"name": f"{self.name} {key}", "value": value, "unit": "1", "baseline": None, "ratio": None}
            for key, value in values.items()
        ]


def _row(name: str, result: Mapping[str, Any], patches: TestPatches) -> _Row:
    metrics = result["metrics"]
    return _Row(
        name,
        patches.width,
        metrics["balanced_accuracy"],
        metrics["auroc"],
        result["attention"]["auroc"],
        patches.distance_auroc(),
    )


def _table(rows: Sequence[_Row]) -> str:
    """Return the comparison, a line for each encoder."""
    header = ("encoder", "numbers", "balanced accuracy", "AUROC", "attention: tumour", "distance: tumour")
    widths = (10, 7, 19, 19, 19, 16)
    lines = [header, tuple("-" * width for width in widths)]
    for row in rows:
        cells = (_cell(row.balanced_accuracy), _cell(row.auroc), _cell(row.attention), f"{row.distance:.3f}")
        lines.append((row.name, str(row.numbers), *cells))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(metric: Mapping[str, Any]) -> str:
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if value is None:
        return "not defined"
    return f"{value:.3f}" + (f" ({low:.3f}-{high:.3f})" if low is not None else "")

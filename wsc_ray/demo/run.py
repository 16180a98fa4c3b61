"""The command: the whole way on a synthetic cohort, for three encoders, with one table at the end.

It calls what the commands call and nothing else; each run folder it leaves can be gone on with by hand.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsc_ray.demo.cohort import write_cohort
from wsc_ray.evaluate.run import evaluate_head
from wsc_ray.features.embed import embed_slides
from wsc_ray.files import read_summary, write_summary
from wsc_ray.manifest.check import check_manifest
from wsc_ray.manifest.importing import import_manifest
from wsc_ray.mil.search import search_head
from wsc_ray.places import local_path
from wsc_ray.pretrain.run import pretrain_encoder
from wsc_ray.ray_session import ray_session
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.report.run import REPORT, write_report
from wsc_ray.stage import claim_folder, refuse_other, write_identity

ENCODERS = ("weaksupcon", "simclr", "untrained")


def run_demo(*, out: str | Path, seed: int, quick: bool) -> dict[str, Any]:
    """Draw a cohort, pretrain WeakSupCon and SimCLR on two workers, embed, search a head and evaluate, beside the
    untrained encoder; then write the report of the three.

    The same call again goes on where an interrupted one stopped.

    Args:
        out: folder for the cohort and a run folder each encoder.
        seed: of the cohort and of training.
        quick: a few steps of everything; the table means nothing then.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of name, value and unit, and the `table` as text.

    Raises:
        RunFolderError: `out` is taken by something else, or by a demo of another seed or size.
    """
    out = local_path(out)
    identity = {"seed": seed, "quick": quick}
    known = claim_folder("demo", out)
    if known is not None:
        refuse_other(out, "a demo", known, identity)
    write_identity(out, "demo", identity)
    say = _Stages(2 + 4 * len(ENCODERS))
    started = time.time()
    say("drawing a cohort: one label a slide, a rare tumour texture, a stain of its own for every slide")
    manifest = _cohort(out, seed, quick)
    results = {}
    with ray_session():
        for name in ENCODERS:
            run = out / name
            say(
                f"{name}: pretraining on 2 workers"
                if name != "untrained"
                else "untrained: random weights, to compare with"
            )
            pretrain_encoder(recipe=demo_recipe(name, manifest=manifest, out=out, seed=seed, quick=quick), out=run)
            say(f"{name}: embedding every patch")
            embed_slides(run=run)
            say(f"{name}: searching an MIL head on training and validation slides")
            search_head(run=run)
            say(f"{name}: evaluating it on test slides")
            results[name] = evaluate_head(run=run)
    say("writing the report of all three")
    write_report(runs=[out / name for name in ENCODERS], out=out / "report")
    summary = {
        "results": [row for name, result in results.items() for row in _rows(name, result)],
        "table": _table(results),
        "report": str(out / "report" / REPORT),
        "seconds": round(time.time() - started, 1),
        "look": results[ENCODERS[0]]["mlflow"]["look"],
    }
    return write_summary(out, "demo", summary)


def demo_recipe(name: str, *, manifest: Path, out: Path, seed: int, quick: bool) -> Recipe:
    """The recipe of one of `ENCODERS`: a small encoder and small crops, so that two CPU cores train it in a minute.

    From random weights the similarity half would pull everything to one point at the paper's weight of 1 (see
    `loss.similarity_weight` in the README), so that it is small and rises slowly. Momentum is 0
    because with 0.9 training did not leave its plateau for some seeds (seed 1, of 0 and 1 tried).
    """
    uri = None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{out}/mlflow.db"
    epochs = 0 if name == "untrained" else 1 if quick else 15
    values = {
        "seed": seed,
        "data": {"manifest": str(manifest)},
        "encoder": {"backbone": "test_resnet", "weights": "random", "head_hidden": 128, "head_dim": 64},
        "loss": {
            "method": "simclr" if name == "simclr" else "weaksupcon",
            "similarity_weight": 0.01,
            "similarity_warmup": 400,
        },
        "augment": {"size": 32, "scale": [0.4, 1.0], "vflip": 0.5, "grayscale": 0.3},
        "stream": {"sampling": "epoch", "shards": 8, "window": 64},
        "train": {
            "epochs": epochs,
            "steps_per_epoch": 3 if quick else None,
            "batch_size": 64,
            "workers": 2,
            "cpus_per_worker": 0.5,
            "lr": 0.4,
            "momentum": 0.0,
            "warmup_epochs": 0 if quick else 0.6,
            "schedule": "cosine",
            "log_every": 10,
        },
        "embed": {"size": 48},
        "tune": {"trials": 2, "epochs": 2, "seeds": 1} if quick else {"trials": 6, "epochs": 40, "seeds": 1},
        "evaluate": {"bootstrap": 200 if quick else 1000},
        "tracking": {"uri": uri, "experiment": "wsc-ray demo"},
    }
    return validate_recipe(values, source=f"demo recipe of {name}")


class _Stages:
    """Numbers the stages as they begin, on stderr."""

    def __init__(self, total: int):
        self.total, self.number = total, 0

    def __call__(self, what: str) -> None:
        self.number += 1
        print(f"[{self.number}/{self.total}] {what}", file=sys.stderr, flush=True)


def _cohort(out: Path, seed: int, quick: bool) -> Path:
    """Draw, import and check the cohort, where that is not done yet; its manifest's folder."""
    manifest = out / "manifest"
    if read_summary(manifest) is None:
        table = out / "cohort" / "patches.parquet"
        if not table.exists():
            if quick:
                write_cohort(table.parent, seed=seed, slides=(12, 6, 8), patches_per_slide=12)
            else:
                write_cohort(table.parent, seed=seed)
        import_manifest(
            source=str(table),
            out=str(manifest),
            columns={"label": "slide_label"},
            label_names={"0": "negative", "1": "positive"},
            row_group_rows=32,  # a slide or two, so that every shard of so small a cohort holds many
        )
    check_manifest(manifest=str(manifest))
    return manifest


def _rows(name: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    metrics = {key: result["metrics"][key]["value"] for key in ("balanced_accuracy", "auroc")}
    return [
        {"name": f"{name} {key}", "value": value, "unit": "1", "baseline": None, "ratio": None}
        for key, value in metrics.items()
    ]


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The comparison, a line an encoder: test metrics of the MIL head with their intervals."""
    lines = [
        f"{'encoder':<12} {'balanced accuracy':<22} {'AUROC':<22} attention finds tumour patches (AUROC)",
        f"{'-' * 12} {'-' * 22} {'-' * 22} {'-' * 39}",
    ]
    for name, result in results.items():
        metrics = result["metrics"]
        cells = [_cell(metrics["balanced_accuracy"]), _cell(metrics["auroc"]), _cell(result["attention"]["auroc"])]
        lines.append(f"{name:<12} {cells[0]:<22} {cells[1]:<22} {cells[2]}")
    return "\n".join(lines)


def _cell(metric: Mapping[str, Any]) -> str:
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if value is None:
        return "not defined"
    return f"{value:.3f}" + (f" ({low:.3f}-{high:.3f})" if low is not None else "")

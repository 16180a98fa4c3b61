"""A small run folder as the commands leave it, written without Ray and without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from tests.manifest.cohort import cohort, png, write
from wsc_ray.commands import manifest_import
from wsc_ray.evaluate.assess import Result, assess
from wsc_ray.evaluate.inputs import predict_members
from wsc_ray.evaluate.ledger import Opening, record
from wsc_ray.evaluate.report import CONFUSION, MEMBERS, PREDICTIONS, write_confusion, write_members, write_predictions
from wsc_ray.features.store import SlideFeatures, read_slides, write_slide, write_slides
from wsc_ray.files import write_json, write_summary
from wsc_ray.manifest import open_manifest
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.pretrain.metrics_file import MetricsWriter
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.stage import write_identity

WIDTH = 8  # of the features


def write_manifest(
    folder: Path, labels: tuple[str, str], slides: int = 8, site: str | None = None, patches: int = 7, side: int = 8
) -> Path:
    """A manifest of small patches, whose last four slides are the test split.

    Args:
        side: of a patch in level-0 px. Another side gives other images; the corners of the first patches of slides coincide.
    """
    x = [patch * side for _ in range(slides) for patch in range(patches)]
    images = [png(side * 1000 + number) for number in range(len(x))]
    table = cohort(slides, patches, x=x, mpp=[side / 16] * len(x), image=images)
    names = [labels[("negative", "positive").index(each)] for each in table["label"].to_pylist()]
    split = ["test" if int(slide[1:]) >= slides - 4 else "train" for slide in table["slide_id"].to_pylist()]
    table = table.set_column(table.column_names.index("label"), "label", pa.array(names))
    table = table.set_column(table.column_names.index("split"), "split", pa.array(split))
    if site is not None:
        table = table.append_column("site", pa.array([site] * table.num_rows))
    manifest_import(source=write(table, folder / "table.parquet"), out=folder / "manifest")
    return folder / "manifest"


def write_features(folder: Path, manifest: Path, seed: int, side: int = 8) -> Path:
    """Random features of every patch; every second patch is positive."""
    opened, rng = open_manifest(str(manifest)), np.random.default_rng(seed)
    table, known = opened.read_rows(["slide_id", "x", "y"]), opened.cohort()
    slides = np.array(table["slide_id"].to_pylist())
    coords = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
    counts = []
    for name in known.ids:
        own = coords[slides == name]
        values = rng.normal(size=(len(own), WIDTH)).astype(np.float32)
        labels = (np.arange(len(own)) % 2).astype(np.int8)
        write_slide(
            folder,
            SlideFeatures(name, values, own, labels),
            attributes={},
            coords_attributes={"patch_size_level0": side},
        )
        counts.append(len(own))
    write_slides(folder, known.slides.append_column("patches", pa.array(counts, pa.int64())))
    write_identity(folder, "embed", {"encoder": "e" * 64, "size": 8, "manifest": opened.digest})
    write_summary(folder, "embed", {"manifest": str(manifest)})
    return folder


def write_run(
    folder: Path, manifest: Path, *, seed: int = 0, steps: int = 30, evaluated: bool = True, side: int = 8
) -> Path:
    """A run folder: metrics, recipe, features, a head with random weights, its evaluation and a ledger."""
    run = RunFolder(folder)
    write_json(run.info, {"command": "pretrain", "format": 1, "wsc_ray": "0.0", "training": {"seed": seed}})
    run.write_recipe(f"seed: {seed}\n")
    if steps:
        writer = MetricsWriter(run.metrics, 0)
        for step in range(1, steps + 1):
            values = {"loss": 5 / step, "similarity": 1 / step, "contrastive": 4 / step, "effective_rank": 3.0}
            writer.append(step, values)
        writer.flush()
    write_summary(folder, "pretrain", {"method": "weaksupcon", "backbone": "tiny", "steps_done": steps})
    write_features(run.features, manifest, seed, side)
    if evaluated:
        _write_evaluation(run, seed)
    return folder


def _write_evaluation(run: RunFolder, seed: int) -> None:
    slides = read_slides(run.features).slides
    classes = sorted(set(slides["label"].to_pylist()))
    torch.manual_seed(seed)
    setting = AttentionSettings(lr=1e-3, weight_decay=0.0, dropout=0.0, hidden=8, attention=8, gated=True)
    embed = {"encoder": "e" * 64, "size": 8}
    save_head(run.mil, setting.build(WIDTH, 2), setting, classes, {"embed": embed})
    write_summary(run.mil, "tune", {"best": {"trial": "trial-000", "head": "abmil", "lr": 0.001}})
    members = load_members(run.mil)
    bags = load_bags(run.features, slides_of(slides, "test"), classes, patch_labels=True)
    result = Result(bags, classes, *predict_members(members, bags, {}, run.mil))
    measured = assess(result, Recipe.model_validate({"evaluate": {"bootstrap": 100}}))
    write_identity(run.evaluate, "evaluate", {})
    write_predictions(run.evaluate / PREDICTIONS, result)
    write_members(run.evaluate / MEMBERS, result)
    write_confusion(run.evaluate / CONFUSION, classes, measured["confusion"])
    opening = Opening("evaluate", "c" * 64, "split test", len(bags), "h" * 64, "e" * 64, "f" * 64, "r" * 64)
    record(run.path, opening)
    ledger = record(run.path, opening)
    plan = {
        "features": str(run.features),
        "head": str(run.mil),
        "where": "split test",
        "classes": classes,
        "positive": classes[1],
        "slides": len(bags),
        "patients": len(bags),
        "bootstrap": {"samples": 100, "confidence": 0.95, "over": "patients and members"},
    }
    write_summary(run.evaluate, "evaluate", {**plan, **measured, "ledger": ledger})

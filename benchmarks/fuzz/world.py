"""Small inputs of every kind that commands read, made without Ray, for the fuzzer to damage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
import yaml

from wsc_ray import commands
from wsc_ray.demo.cohort import write_cohort
from wsc_ray.encoders import build_encoder
from wsc_ray.features.store import SlideFeatures, read_slides, write_slide, write_slides
from wsc_ray.files import write_summary
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings
from wsc_ray.mil.trials import Trial, write_fit, write_record
from wsc_ray.pretrain import checkpoint
from wsc_ray.pretrain.loop import make_optimizer
from wsc_ray.pretrain.metrics_file import MetricsWriter
from wsc_ray.pretrain.resume import checkpoint_name
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import write_identity

SLIDES = {
    "s1": ("negative", "train"),
    "s2": ("positive", "train"),
    "s3": ("negative", "test"),
    "s4": ("positive", "test"),
}
PLACES = (0, 64)  # x of each slide's patches; their y is 0
CLASSES = ["negative", "positive"]
SETTING = AttentionSettings(lr=5e-3, weight_decay=1e-4, dropout=0.0, hidden=8, attention=8, gated=True)


@dataclass(frozen=True)
class World:
    """The paths of all inputs below `root`."""

    root: Path

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest"

    @property
    def small(self) -> Path:
        """The manifest of `SLIDES`."""
        return self.root / "small"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def checkpoints(self) -> Path:
        return self.root / "trained" / "checkpoints"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"


def make_world(root: Path) -> World:
    """Write all inputs into an empty folder; they are the same every time."""
    world = World(root)
    _user_files(world)
    write_cohort(root / "cohort", seed=3, slides=(6, 2, 4), patches_per_slide=4)
    commands.manifest_import(
        source=root / "cohort" / "patches.parquet",
        out=world.manifest,
        columns={"label": "slide_label"},
        label_names={"0": "negative", "1": "positive"},
        row_group_rows=8,
        file_rows=24,
    )
    commands.manifest_import(source=root / "table.csv", out=world.small)
    _run(world)
    _checkpoints(world)
    return world


def recipe_of(world: World) -> Recipe:
    return validate_recipe(
        {
            "data": {"manifest": str(world.manifest)},
            "encoder": {"backbone": "test_resnet", "weights": "random", "head_hidden": 8, "head_dim": 4},
            "augment": {"size": 32},
            "stream": {"shards": 1, "window": 1},
            "train": {"epochs": 0, "batch_size": 4, "workers": 1, "steps_per_epoch": 1},
            "tune": {"trials": 1},
            "evaluate": {"bootstrap": 100},
            "tracking": {"uri": f"sqlite:///{world.root}/mlflow.db"},
        }
    )


def _user_files(world: World) -> None:
    rng = np.random.default_rng(0)
    for slide in SLIDES:
        (world.images / slide).mkdir(parents=True)
        (world.root / f"{slide}.tif").write_bytes(b"a slide that nobody opens")
        for x in PLACES:
            picture = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), (7, 7), 0)
            cv2.imwrite(str(world.images / slide / f"{x}_0.png"), picture)
    cv2.imwrite(str(world.root / "patch.jpg"), picture)
    cv2.imwrite(str(world.root / "patch.png"), picture)
    cv2.imwrite(str(world.root / "patch.tif"), picture)
    rows = [(slide, f"p{slide}", *said) for slide, said in SLIDES.items()]
    patches = [(*row, x, 0, 0, 0.5, world.images / row[0] / f"{x}_0.png") for row in rows for x in PLACES]
    _csv(world.root / "slides.csv", "path,label,split", [(f"{slide}.tif", *said) for slide, _, *said in rows])
    _csv(world.root / "table.csv", "slide_id,patient_id,label,split,x,y,level,mpp,image_uri", patches)
    listed = [(row[-1].relative_to(world.images), row[2], row[0], row[1], row[3]) for row in patches]
    _csv(world.root / "cohort.csv", "slide_id,patient_id,label,split", rows)
    _csv(world.root / "images.csv", "path,label,slide_id,patient_id,split", listed)


def _csv(path: Path, header: str, rows: list[tuple[object, ...]]) -> None:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def _run(world: World) -> None:
    recipe, run = recipe_of(world), world.run
    settings = recipe.model_dump(mode="json", exclude={"tracking"})
    world.recipe.write_text(yaml.safe_dump(settings, sort_keys=False))
    commands.pretrain(recipe=recipe, out=run)
    writer = MetricsWriter(run / "metrics.jsonl", 0)
    for step in range(1, 9):
        writer.append(step, {"loss": 0.5, "patches_per_second": 10.0})
    cohort = commands.manifest_check(manifest=world.manifest)
    assert cohort["slides"] == 12
    features = run / "features"
    rng = np.random.default_rng(1)
    rows = []
    for number in range(12):
        label, split = CLASSES[number % 2], "train" if number < 6 else "test"
        patches = int(rng.integers(3, 9))
        values = (rng.normal(size=(patches, 8)) + number % 2).astype(np.float32)
        coords = np.stack([np.arange(patches), np.zeros(patches)], axis=1).astype(np.int64)
        slide = SlideFeatures(f"slide-{number:02d}", values, coords, np.zeros(patches, np.int8))
        write_slide(features, slide, attributes={"encoder": "made-up"}, coords_attributes={})
        rows.append((slide.slide_id, f"patient-{number:02d}", label, split, patches))
    names = ("slide_id", "patient_id", "label", "split", "patches")
    write_slides(features, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))
    write_identity(features, "embed", {"encoder": "0" * 64, "size": 32})
    bags = load_bags(features, slides_of(read_slides(features).slides, "train"), CLASSES)
    fit = fit_head(bags, bags, SETTING, classes=2, epochs=2, patience=2, bags_per_step=4, seed=0)
    save_head(run / "mil", fit.head, SETTING, CLASSES)
    write_identity(run / "mil", "tune", {})
    write_fit(run / "mil", 0, SETTING, fit, CLASSES)
    write_record(run / "mil", Trial(0, SETTING, fit.scores, 1, 2, 1.0))
    write_summary(run / "mil", "tune", {})
    commands.evaluate(run=run)


def _checkpoints(world: World) -> None:
    """Write two checkpoints, as training does."""
    torch.manual_seed(0)
    model = build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4)
    optimizer = make_optimizer(model, validate_recipe({}))
    for step in (2, 4):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float(step))
        optimizer.step()
        folder = world.checkpoints / checkpoint_name(step)
        folder.mkdir(parents=True)
        checkpoint.save(folder, model, optimizer, checkpoint.State(step, 4, "digest", 1))
        checkpoint.save_rng(folder, 0)

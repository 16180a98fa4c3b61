"""Part `evidence`: ResNet-18 trained from pixels on pseudo-slides with few tumour patches, one arm per method.

A pseudo-slide is 50 patches of one stain group: of a negative one all are normal, of a positive one a stated fraction is
tumour. Encoders are trained on pseudo-slides of the pool's part `train` from random weights; ABMIL heads are fitted on the same
pseudo-slides and tested on those of the part `valid`. Test bags share patches, so that their number does not show the
uncertainty of a figure. The part starts no arm that would exceed its time limit, and lists the arms that it left out.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.part import Part, open_part
from benchmarks.gpu.step import Ours, step_batch
from wsc_ray.bench.environment import usable_cores
from wsc_ray.encoders import normalise_pixels
from wsc_ray.mil.auroc import auroc
from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import fit_head, predict
from wsc_ray.mil.heads.abmil import AttentionSettings as Setting
from wsc_ray.pixels import decode
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.parameters import view_draws, view_parameters

SPARE = 5.0  # seconds of the limit that nothing is planned for
BAG = 50
STORED = 96  # px of a patch
ARMS = ("untrained", "supcon", "simclr", "weaksupcon")
SETTING = Setting(lr=1e-3, weight_decay=1e-3, dropout=0.25, hidden=128, attention=64, gated=True)


def main() -> int:
    part = open_part("evidence")
    begun = time.monotonic()
    pool = _read_pool(part)
    steps, batch, size = (2, 16, 32) if part.quick else (1200, 512, 64)
    slides, test_slides = (8, 8) if part.quick else (156, 200)
    tables = _draw_views(part, steps, batch, size)
    result: dict[str, Any] = {"steps": steps, "batch_size": batch, "size": size}
    result |= {"before_seconds": time.monotonic() - begun, "rows": [], "left_out": []}
    longest = 0.0
    for fraction in (0.1,) if part.quick else (0.1, 0.2):
        train = _draw_bags(pool, True, slides, fraction, seed=1)
        test = _draw_bags(pool, False, test_slides, fraction, seed=2)
        for method in ARMS:
            started = time.monotonic()
            if started - begun + longest > part.limit - SPARE:
                result["left_out"].append(f"{method} at {fraction:.0%}")
                continue
            encoder = _trained(part, pool, train, method, tables, size)
            features = _features(part, encoder, pool["images"], size)
            row = {"fraction": fraction, "method": method, **_measure(part, pool, features, train, test)}
            row["seconds"] = time.monotonic() - started
            longest = max(longest, row["seconds"])
            result["rows"].append(row)
            part.write(result)
            print(row, flush=True)
    part.write(result)
    return 0


def _read_pool(part: Part) -> dict[str, np.ndarray]:
    """images (n, 96, 96, 3) uint8, and of each whether it is for training, its stain group, and whether it is tumour."""
    if part.data is None:
        rng = np.random.default_rng(0)
        return {
            "images": rng.integers(0, 256, (240, 96, 96, 3), dtype=np.uint8),
            "train": np.arange(240) < 160,
            "group": np.arange(240) // 160 * 2 + np.arange(240) % 2,
            "tumour": (np.arange(240) // 2 % 2).astype(np.int8),
        }
    with np.load(part.data) as file:
        data, ends = file["data"].tobytes(), file["ends"]
        starts = np.concatenate([[0], ends[:-1]])
        images = np.stack([decode(data[a:b]) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
        return {"images": images, **{name: file[name] for name in ("train", "group", "tumour")}}


def _draw_bags(pool: dict[str, np.ndarray], train: bool, count: int, fraction: float, seed: int) -> np.ndarray:
    """(count, BAG) rows of the pool; even bags are negative, odd ones positive."""
    rng = np.random.default_rng(seed)
    bags = []
    groups = np.unique(pool["group"][pool["train"] == train])
    for number in range(count):
        group = groups[number // 2 % len(groups)]
        here = (pool["train"] == train) & (pool["group"] == group)
        normal, tumour = (np.flatnonzero(here & (pool["tumour"] == value)) for value in (0, 1))
        positives = round(BAG * fraction) if number % 2 else 0
        picks = [rng.choice(normal, BAG - positives, replace=len(normal) < BAG)]
        picks += [rng.choice(tumour, positives, replace=len(tumour) < positives)] if positives else []
        bags.append(np.concatenate(picks))
    return np.stack(bags)


def _augment(size: int) -> Augment:
    return Augment(size=size, vflip=0.5, rotate90=True)


def _draw_views(part: Part, steps: int, batch: int, size: int) -> list[np.ndarray]:
    """The numbers of the views of every step, (batch, 2, P) each, drawn once: all arms take the same."""
    tasks = [(step, batch, size) for step in range(steps)]
    if part.quick:
        return [_draw_step(task) for task in tasks]
    with ProcessPoolExecutor(usable_cores(), mp_context=multiprocessing.get_context("forkserver")) as readers:
        return list(readers.map(_draw_step, tasks, chunksize=8))


def _draw_step(task: tuple[int, int, int]) -> np.ndarray:
    step, batch, size = task
    draws = view_draws(batch, 7, step)
    return np.stack([view_parameters(_augment(size), STORED, STORED, row.tolist()) for row in draws])


def _trained(
    part: Part, pool: dict[str, np.ndarray], bags: np.ndarray, method: str, tables: list[np.ndarray], size: int
) -> torch.nn.Module:
    """An encoder after a step for each of `tables`: half of a batch is of negative slides, half of positive ones."""
    steps, batch = len(tables), len(tables[0])
    recipe = validate_recipe(
        {
            "encoder": {"backbone": "resnet18", "weights": "random"},
            "loss": {
                "method": "weaksupcon" if method == "untrained" else method,
                "similarity_weight": 0.1,
                "similarity_warmup": 200,
            },
            "augment": _augment(size).model_dump(),
            "stream": {"augment_on": "device", "shards": 1},
            "train": {
                "batch_size": batch,
                "epochs": 1,
                "steps_per_epoch": steps,
                "warmup_epochs": 0.1,
                "lr": 0.1,
                "schedule": "cosine",
            },
        }
    )
    ours = Ours(part, recipe)
    if method == "untrained":
        return ours.encoder
    halves = (bags[0::2].ravel(), bags[1::2].ravel())
    for step, parameters in enumerate(tables):
        rng = np.random.default_rng([7, step])
        rows = np.concatenate([rng.choice(half, batch // 2) for half in halves])
        ours.step(step_batch(pool["images"][rows], parameters))
    return ours.encoder


@torch.inference_mode()
def _features(part: Part, encoder: torch.nn.Module, images: np.ndarray, size: int) -> torch.Tensor:
    """Backbone features (n, f) float32 of whole patches, on the CPU."""
    encoder.eval()
    found = []
    for start in range(0, len(images), 512):
        pixels = normalise_pixels(torch.from_numpy(images[start : start + 512]).to(part.device))
        pixels = torch.nn.functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        with torch.autocast(part.device.type, torch.bfloat16, enabled=part.device.type == "cuda"):
            found.append(encoder.backbone(pixels).float().cpu())
    return torch.cat(found)


def _measure(
    part: Part, pool: dict[str, np.ndarray], features: torch.Tensor, train: np.ndarray, test: np.ndarray
) -> dict[str, Any]:
    cut = len(train) * 3 // 4 // 2 * 2
    fit, val, held = (_as_bags(features, bags) for bags in (train[:cut], train[cut:], test))
    scores = []
    for seed in range(1 if part.quick else 3):
        head = fit_head(
            fit,
            val,
            SETTING,
            classes=2,
            epochs=2 if part.quick else 40,
            patience=10,
            bags_per_step=8,
            seed=seed,
            device=part.device,
        ).head
        logits, _ = predict(head, held)
        scores.append(auroc(held.labels.numpy() == 1, logits.softmax(1)[:, 1].numpy())[0])
    rows = np.flatnonzero(~pool["train"])
    return {
        "bag_auroc": float(np.mean(scores)),
        "bag_auroc_of_seeds": [float(score) for score in scores],
        "patch_auroc": _probe(features, pool, rows),
    }


def _probe(features: torch.Tensor, pool: dict[str, np.ndarray], rows: np.ndarray) -> float:
    """AUROC over patches of `valid` of a ridge regression on patch labels of `train`: measures, never trains an encoder."""
    here = np.flatnonzero(pool["train"])
    mean, std = features[here].mean(0), features[here].std(0) + 1e-6
    x = ((features - mean) / std).double()
    y = torch.from_numpy(2.0 * pool["tumour"][here] - 1)
    gram = x[here].T @ x[here] + 10.0 * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x[here].T @ y)
    return float(auroc(pool["tumour"][rows] == 1, (x[rows] @ weights).numpy())[0])


def _as_bags(features: torch.Tensor, bags: np.ndarray) -> Bags:
    count = len(bags)
    return Bags(
        features=features[torch.from_numpy(bags.ravel())],
        offsets=torch.arange(count + 1) * BAG,
        labels=torch.arange(count) % 2,
        coords=torch.zeros(count * BAG, 2, dtype=torch.int64),
        slide_ids=tuple(f"bag-{number}" for number in range(count)),
        patient_ids=tuple(f"bag-{number}" for number in range(count)),
    )


if __name__ == "__main__":
    sys.exit(main())

"""A made-up feature store: slides of two labels, where positive slides hold some patches that lie apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from hypothesis import settings

from wsc_ray.features.store import SlideFeatures, write_slide, write_slides
from wsc_ray.mil.bags import Bags

FEW = settings(max_examples=60)  # of hypothesis: a shared machine has no steady clock


def write_store(
    folder: Path,
    *,
    slides: dict[str, int] | None = None,
    labels: tuple[str, ...] = ("negative", "positive"),
    width: int = 8,
    shift: float = 2.0,
    slides_per_patient: int = 2,
    patch_labels: bool = True,
    seed: int = 0,
) -> Path:
    """Write slides of each split, labels in turn by patient, features of a scale that no head would like unscaled."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, 3, width)
    direction = rng.normal(size=width)
    rows = []
    for split, count in (slides or {"train": 24, "test": 16}).items():
        for number in range(count):
            patient = number // slides_per_patient
            label = labels[patient % len(labels)]
            patches = int(rng.integers(3, 20))
            kind = np.zeros(patches, np.int8)
            if label != labels[0]:
                kind[: max(1, patches // 4)] = 1
            features = rng.normal(size=(patches, width)) + shift * labels.index(label) * kind[:, None] * direction
            slide = SlideFeatures(
                slide_id=f"{split}-{number:03d}",
                features=(features * scale + 5 * scale).astype(np.float32),
                coords=np.stack([np.arange(patches), np.zeros(patches)], axis=1).astype(np.int64) * 224,
                patch_label=kind if patch_labels else None,
            )
            write_slide(folder, slide, attributes={"encoder": "made-up"}, coords_attributes={})
            rows.append((slide.slide_id, f"{split}-patient-{patient:03d}", label, split, patches))
    names = ("slide_id", "patient_id", "label", "split", "patches")
    write_slides(folder, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))
    return folder


def make_bags(lengths: list[int], *, width: int = 5, classes: int = 2, seed: int = 0) -> Bags:
    """Bags of random features, labels in turn, a patient each."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    return Bags(
        features=torch.randn(total, width, generator=generator),
        offsets=torch.tensor([0, *np.cumsum(lengths)]),
        labels=torch.arange(len(lengths)) % classes,
        coords=torch.zeros(total, 2, dtype=torch.int64),
        slide_ids=tuple(f"s{i}" for i in range(len(lengths))),
        patient_ids=tuple(f"p{i}" for i in range(len(lengths))),
        patch_labels=(torch.rand(total, generator=generator) < 0.4).to(torch.int8),
    )

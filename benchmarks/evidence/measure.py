"""Measuring features on pseudo-slides and on patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.evidence.pool import SIZE, Pool, Slides
from wsc_ray.mil.auroc import auroc
from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.heads.abmil import AttentionMIL, AttentionSettings

SETTING = AttentionSettings(lr=1e-3, weight_decay=1e-3, dropout=0.25, hidden=64, attention=32, gated=True)
EPOCHS, PATIENCE, BAGS_PER_STEP = 40, 10, 8


def as_bags(features: torch.Tensor, slides: Slides) -> Bags:
    """Pseudo-slides as bags.

    Args:
        features: of the whole pool, (n, d).
    """
    count = len(slides)
    names = tuple(f"slide-{number}" for number in range(count))
    return Bags(
        features=features[torch.from_numpy(slides.rows.ravel())],
        offsets=torch.arange(count + 1) * SIZE,
        labels=torch.from_numpy(slides.positive.astype(np.int64)),
        coords=torch.zeros(count * SIZE, 2, dtype=torch.int64),
        slide_ids=names,
        patient_ids=names,
    )


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted attention head, and what it makes of every patch of the pool: slides are then predicted by gathering.

    Attributes:
        embedded: (n, L).
        scores: (n, 1), of which a slide's attention is the softmax.
    """

    head: AttentionMIL
    embedded: torch.Tensor
    scores: torch.Tensor

    @torch.inference_mode()
    def predict(self, slides: Slides) -> np.ndarray:
        """How likely each is positive, as a logit, (b,)."""
        rows = torch.from_numpy(slides.rows.ravel())
        offsets = torch.arange(len(slides) + 1) * SIZE
        logits, _ = self.head.pooled(self.embedded[rows], self.scores[rows], offsets)
        return (logits[:, 1] - logits[:, 0]).numpy()

    def auroc(self, slides: Slides) -> float:
        """Over pseudo-slides."""
        return float(auroc(slides.positive, self.predict(slides))[0])

    def attention_auroc(self, slides: Slides, pool: Pool) -> float:
        """Whether attention finds tumour patches: over the patches of all positive slides."""
        rows = slides.rows[slides.positive].ravel()
        weights = self.scores.numpy()[rows].reshape(-1, SIZE)
        weights = np.exp(weights - weights.max(1, keepdims=True))
        return float(auroc(pool.tumour[rows], (weights / weights.sum(1, keepdims=True)).ravel())[0])


def fit(features: torch.Tensor, train: Slides, stop: Slides, seed: int) -> Head:
    """Fit ABMIL.

    Args:
        features: of the whole pool; NaN where no slide has a patch.
        stop: slides that say when fitting stops.
    """
    found = fit_head(
        as_bags(features, train),
        as_bags(features, stop),
        SETTING,
        classes=2,
        epochs=EPOCHS,
        patience=PATIENCE,
        bags_per_step=BAGS_PER_STEP,
        seed=seed,
    )
    assert isinstance(found.head, AttentionMIL)  # as SETTING says
    with torch.inference_mode():
        return Head(found.head, *found.head.embedded(features))


def distance_auroc(features: torch.Tensor, train: Slides, pool: Pool, rows: np.ndarray) -> float:
    """Whether a patch's distance from the negative slides' centre finds tumour; it needs no patch label.

    Args:
        rows: patches to judge.
    """
    normal = features[torch.from_numpy(train.rows[~train.positive].ravel())].double()
    mean, std = normal.mean(0), normal.std(0) + 1e-6
    away = ((features[torch.from_numpy(rows)].double() - mean) / std).square().sum(1)
    return float(auroc(pool.tumour[rows], away.numpy())[0])


def linear_auroc(features: torch.Tensor, train: Slides, pool: Pool, rows: np.ndarray) -> float:
    """Over patches, of a ridge regression on the patch labels of the training slides; it measures, and trains no encoder."""
    fitted = np.unique(train.rows)
    x = features[torch.from_numpy(fitted)].double()
    mean, std = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / std
    y = torch.from_numpy(np.where(pool.tumour[fitted], 1.0, -1.0))
    y -= y.mean()
    gram = x.T @ x + 0.01 * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ y)
    there = (features[torch.from_numpy(rows)].double() - mean) / std
    return float(auroc(pool.tumour[rows], (there @ weights).numpy())[0])

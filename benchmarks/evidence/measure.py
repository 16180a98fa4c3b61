"""The measures of features, on pseudo-slides and on patches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmarks.evidence.pool import SIZE, Pool, Slides
from wsc_ray.mil.auroc import auroc
from wsc_ray.mil.bags import Bags
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.head import PackedHead, Settings
from wsc_ray.mil.heads.abmil import AttentionMIL, AttentionSettings
from wsc_ray.mil.heads.dtfd import DTFD, DTFDSettings
from wsc_ray.mil.heads.mean import MeanPool, MeanSettings
from wsc_ray.probes.neighbours import neighbour_shares
from wsc_ray.probes.samples import Samples

_SHARED = {"lr": 1e-3, "weight_decay": 1e-3, "dropout": 0.25}
_ATTENTION = {"hidden": 64, "attention": 32, "gated": True}
ABMIL = "abmil"  # the head with which settings are chosen
HEADS: dict[str, Settings] = {
    "mean": MeanSettings(**_SHARED),
    ABMIL: AttentionSettings(**_SHARED, **_ATTENTION),
    "dtfd": DTFDSettings(**_SHARED, **_ATTENTION, pseudo_bags=5, distill="afs"),
}
EPOCHS, PATIENCE, BAGS_PER_STEP = 40, 10, 8
NEIGHBOURS = 20


def as_bags(features: torch.Tensor, slides: Slides) -> Bags:
    """Return pseudo-slides as bags.

    Args:
        features: features of the whole pool, (n, d).
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
    """A fitted head in two parts, so that thousands of pseudo-slides are predicted without embedding a patch twice.

    Attributes:
        instances: what the head's first part makes of each patch of the pool, (n, L).
        rest: the second part: `instances` of bags (m, L) and their offsets (b + 1,) -> logits (b, 2) and attention (m,).
    """

    instances: torch.Tensor
    rest: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

    @torch.inference_mode()
    def __call__(self, slides: Slides) -> tuple[np.ndarray, np.ndarray]:
        """Return the logit of each pseudo-slide being positive, (b,), and the attention over its patches, (b, SIZE)."""
        rows = torch.from_numpy(slides.rows.ravel())
        logits, attention = self.rest(self.instances[rows], torch.arange(len(slides) + 1) * SIZE)
        return (logits[:, 1] - logits[:, 0]).numpy(), attention.view(-1, SIZE).numpy()

    def auroc(self, slides: Slides) -> float:
        """Return the AUROC over pseudo-slides."""
        return float(auroc(slides.positive, self(slides)[0])[0])

    def balanced_accuracy(self, slides: Slides) -> float:
        """Return the balanced accuracy over pseudo-slides, half of which are positive; a logit above 0 predicts positive."""
        return float(np.mean((self(slides)[0] > 0) == slides.positive))

    def attention_auroc(self, slides: Slides, pool: Pool) -> float:
        """Return how well attention finds tumour, as AUROC over the patches of all positive slides."""
        rows = slides.rows[slides.positive].ravel()
        return float(auroc(pool.tumour[rows], self(slides)[1][slides.positive].ravel())[0])


def fit(features: torch.Tensor, train: Slides, stop: Slides, seed: int, setting: Settings) -> Head:
    """Fit a head.

    Args:
        features: features of the whole pool, (n, D); NaN for patches in no slide.
        stop: slides that decide when fitting stops.
    """
    found = fit_head(
        as_bags(features, train),
        as_bags(features, stop),
        setting,
        classes=2,
        epochs=EPOCHS,
        patience=PATIENCE,
        bags_per_step=BAGS_PER_STEP,
        seed=seed,
    )
    return split(found.head.eval(), features)


@torch.inference_mode()
def split(head: PackedHead, features: torch.Tensor) -> Head:
    """Return a fitted head in two parts.

    Args:
        features: features of the whole pool, (n, D).
    """
    rest, x = copy.deepcopy(head), head.standardised(features)
    rest.mean, rest.std = torch.zeros(1), torch.ones(1)
    if isinstance(head, DTFD):
        rest.embed = nn.Identity()  # the relu after it changes nothing, since `instances` are not negative
        return Head(torch.relu(head.embed(x)), rest)
    rest.classify = nn.Identity()  # linear: the logits of a mean are the mean of the logits
    if isinstance(head, MeanPool):
        return Head(head.classify(x), rest)
    assert isinstance(head, AttentionMIL)
    h, scores = head.embedded(features)
    pooled = rest.pooled

    def of_instances(instances: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pooled(instances[:, :-1], instances[:, -1:], offsets)

    return Head(torch.cat([head.classify(h), scores], 1), of_instances)


def distance_auroc(features: torch.Tensor, train: Slides, pool: Pool, rows: np.ndarray) -> float:
    """Return how well a patch's distance from the centre of the negative slides finds tumour, as AUROC; this needs no patch labels.

    Args:
        rows: patches to judge.
    """
    normal = features[torch.from_numpy(train.rows[~train.positive].ravel())].double()
    mean, std = normal.mean(0), normal.std(0) + 1e-6
    away = ((features[torch.from_numpy(rows)].double() - mean) / std).square().sum(1)
    return float(auroc(pool.tumour[rows], away.numpy())[0])


def linear_auroc(features: torch.Tensor, train: Slides, pool: Pool, rows: np.ndarray) -> float:
    """Return the AUROC over patches of a ridge regression on the training slides' patch labels, which are used only to measure."""
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


def knn_auroc(features: torch.Tensor, train: Slides, pool: Pool, rows: np.ndarray) -> float:
    """Return the AUROC over patches of the share of tumour among the nearest patches of the training slides; labels only measure."""
    fitted = np.unique(train.rows)
    shares = neighbour_shares(_samples(features, pool, fitted), _samples(features, pool, rows), NEIGHBOURS)
    return float(auroc(pool.tumour[rows], shares[:, 1])[0])


def _samples(features: torch.Tensor, pool: Pool, rows: np.ndarray) -> Samples:
    own = features[torch.from_numpy(rows)].float().numpy()
    return Samples(own, pool.tumour[rows].astype(int), ("normal", "tumour"), pool.group[rows], pool.group[rows])

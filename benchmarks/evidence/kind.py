"""What the trainings of a study train: adapters, or backbones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch

from benchmarks.evidence.options import Options
from benchmarks.evidence.pool import Pool, Slides
from benchmarks.evidence.setting import Setting
from wsc_ray.pretrain.loop import Metrics


class Trainer(Protocol):
    """Trains on pseudo-slides."""

    @property
    def frozen(self) -> torch.Tensor:
        """The features of the pool before training, (n, D) float32; NaN for patches in no pseudo-slide."""

    def train(
        self, setting: Setting, slides: Slides, *, seed: int, export: Path | None
    ) -> tuple[torch.Tensor, Metrics]:
        """Train, and return the features of the pool, (n, d), and the metrics of the last step.

        Args:
            export: folder for the encoder; None to write none.
        """


class MakeTrainer(Protocol):
    """Makes a trainer."""

    def __call__(
        self,
        folder: Path,
        table: pa.Table,
        pool: Pool,
        weights: Path,
        options: Options,
        *,
        trained: np.ndarray,
        seen: np.ndarray,
    ) -> Trainer:
        """Return a trainer.

        Args:
            folder: what several processes need is kept here.
            weights: folder with the weights of the encoder that is trained, or whose features are.
            trained: patches of the pool on which encoders are trained.
            seen: further patches whose features are needed.
        """


@dataclass(frozen=True)
class Kind:
    """What the trainings of a study train.

    Attributes:
        trainer: makes the trainer of a process.
        candidates: arm -> the settings among which its own is chosen, as many for each arm; nothing is chosen where there is one.
    """

    trainer: MakeTrainer
    candidates: Mapping[str, Sequence[Setting]]

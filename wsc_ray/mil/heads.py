"""Attention-based MIL (Ilse et al. 2018, arXiv 1802.04712), plain and gated, on packed bags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from wsc_ray.errors import RunFolderError, WeightsError
from wsc_ray.files import atomic, local_file, read_json, write_json
from wsc_ray.storage import AnyPath

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class AttentionMIL(nn.Module):
    """Instance embedding, attention over a bag's instances, a linear classifier of the weighted mean.

    Features are standardised first with `mean` and `std`, buffers that fitting takes from its training slides: the
    features of different encoders have any scale, and none should be at an advantage for it.

    Args:
        features: D, width of the features.
        classes: C, number of classes.
        hidden: width of the instance embedding (L in the paper).
        attention: width of the attention (M in the paper).
        gated: gated attention (tanh times sigmoid, eq. 9) or plain (tanh, eq. 8).
        dropout: on the instance embedding and before the classifier.
    """

    def __init__(self, features: int, classes: int, *, hidden: int, attention: int, gated: bool, dropout: float = 0.0):
        super().__init__()
        self.config = {
            "features": features,
            "hidden": hidden,
            "attention": attention,
            "gated": gated,
            "dropout": dropout,
        }
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.embed = nn.Linear(features, hidden)
        self.tanh = nn.Linear(hidden, attention)
        self.gate = nn.Linear(hidden, attention) if gated else None
        self.score = nn.Linear(attention, 1)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def standardise(self, features: torch.Tensor) -> None:
        """Take mean and standard deviation of each dimension from `features` (n, D)."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        # A dimension that never moves (a dead unit) carries only rounding; dividing by it would blow that up.
        still = std <= 1e-6 * mean.abs() + 1e-12
        self.mean.copy_(mean)
        self.std.copy_(torch.where(still, torch.ones_like(std), std))

    def forward(self, features: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify bags.

        Args:
            features: (n, D), bags packed one after the other.
            offsets: (b + 1,) int64; bag i is rows `offsets[i]` to `offsets[i + 1]`. A bag without rows is classified
                from an embedding of zeros.

        Returns:
            logits (b, C), and attention (n,), which sums to 1 within each bag.
        """
        bags = len(offsets) - 1
        bag = torch.repeat_interleave(torch.arange(bags, device=features.device), offsets.diff())  # (n,)
        h = self.dropout(torch.relu(self.embed((features - self.mean) / self.std)))  # (n, L)
        a = torch.tanh(self.tanh(h))  # (n, M)
        if self.gate is not None:
            a = a * torch.sigmoid(self.gate(h))
        weights = segment_softmax(self.score(a).squeeze(-1), bag, bags)  # (n,)
        z = h.new_zeros(bags, h.shape[1]).index_add(0, bag, weights[:, None] * h)  # (b, L)
        return self.classify(self.dropout(z)), weights


def segment_softmax(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Softmax of `scores` (n,) within each segment; `segment` (n,) int64 says which of `segments` a score is of."""
    # The maximum only keeps exp in range; it cancels, so no gradient goes through it.
    top = scores.new_zeros(segments).scatter_reduce(0, segment, scores.detach(), "amax", include_self=False)
    exp = torch.exp(scores - top[segment])
    return exp / exp.new_zeros(segments).index_add(0, segment, exp)[segment]


def save_head(
    folder: AnyPath, head: AttentionMIL, classes: Sequence[str], extra: Mapping[str, Any] | None = None
) -> None:
    """Write `model.safetensors` and `config.json`; `extra` is kept in the latter (how the head was chosen)."""
    with atomic(folder / WEIGHTS) as temporary:
        save_file({k: v.contiguous() for k, v in head.state_dict().items()}, temporary)
    config = {"format": FORMAT, "head": "attention-mil", **head.config, "classes": list(classes), **(extra or {})}
    write_json(folder / CONFIG, config)


def load_head(folder: AnyPath) -> tuple[AttentionMIL, dict[str, Any]]:
    """A head in evaluation mode, and its `config.json` (`classes`, `features`, ...).

    Raises:
        RunFolderError: the folder holds no head.
        WeightsError: it holds one that cannot be read or is of another format.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise RunFolderError(f"{folder} holds no head ({WEIGHTS} and {CONFIG}); `wsc-ray tune` chooses one")
    try:
        config = read_json(folder / CONFIG)
        if config["format"] != FORMAT or config["head"] != "attention-mil":
            raise WeightsError(f"{folder} holds a head of another kind or format; use the wsc-ray that wrote it")
        names = ("features", "hidden", "attention", "gated", "dropout")
        values = {name: config[name] for name in names}
        head = AttentionMIL(values.pop("features"), len(config["classes"]), **values)
        with local_file(folder / WEIGHTS) as weights:
            head.load_state_dict(load_file(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"the head in {folder} cannot be read: {' '.join(str(error).split())}") from None
    return head.eval(), config

"""The definition of a recipe: every setting, its default and its limits.

Defaults of training are the paper's (arXiv 2602.09477), except that of `loss.similarity_warmup`: `docs/collapse.md` explains why.

The sections are in `patches`, `training` and `results`; `wsc_ray.recipe.reading` reads a recipe from YAML.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import yaml
from pydantic import Field

from wsc_ray.recipe.patches import Data, Tile
from wsc_ray.recipe.results import Embed, Evaluate, Tracking, Tune
from wsc_ray.recipe.section import STEPS, Section, limits
from wsc_ray.recipe.training import PROGRESS, Augment, Encoder, Loss, Stream, Train
from wsc_ray.uris import values_without_secrets

__all__ = [
    "DEFAULT_RECIPE",
    "MLP",
    "PROGRESS",
    "STEPS",
    "Augment",
    "Data",
    "Embed",
    "Encoder",
    "Evaluate",
    "Loss",
    "Recipe",
    "Section",
    "Stream",
    "Tile",
    "Tracking",
    "Train",
    "Tune",
    "limits",
    "sections",
]

DEFAULT_RECIPE = "wsc-ray.yaml"
MLP = "mlp"  # the backbone that takes features


class Recipe(Section):
    """A run from slides or a manifest to evaluation. The defaults of training are the paper's; only `data.manifest` has none."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="seed of the sample order, the weights and the search"
    )
    tile: Tile = Tile()
    data: Data = Data()
    encoder: Encoder = Encoder()
    loss: Loss = Loss()
    augment: Augment = Augment()
    stream: Stream = Stream()
    train: Train = Train()
    embed: Embed = Embed()
    tune: Tune = Tune()
    evaluate: Evaluate = Evaluate()
    tracking: Tracking = Tracking()

    def to_yaml(self) -> str:
        """Return the recipe as YAML, without secrets in URIs; this form is printed and kept."""
        return yaml.safe_dump(values_without_secrets(self.model_dump(mode="json")), sort_keys=False)

    def training_part(self) -> dict[str, Any]:
        """Return the settings that determine the trained weights, which must not change when a run is resumed.

        It leaves out the sections of other commands, and settings that do not change the result: the number of workers and their
        resources, logging, checkpointing, retries, tracking.
        """
        part = self.model_dump(mode="json", exclude={"tile", "embed", "tune", "evaluate", "tracking"})
        if self.data.features:
            del part["augment"]  # the views are stored already; a run compares the digest of their store
        else:  # digests stay those from before adapters and neighbours existed
            if not self.augment.neighbour:
                del part["augment"]["neighbour"]
            del part["encoder"]["mlp_hidden"], part["encoder"]["mlp_width"]
        del part["data"]["features"]
        # The training slides that these give are compared by their digest; see `wsc_ray.pretrain.run`.
        for key in ("val_split", "test_split", "cohort", "target", "split_column", "fold"):
            del part["data"][key]
        for key in ("pixel_mean", "pixel_std"):  # a run stores and compares the resolved values
            del part["encoder"][key]
        del part["loss"]["on_collapse"]
        for key in ("max_bad_fraction", "retries", "record", "features"):  # a run compares the digest of its clusters
            del part["stream"][key]
        if self.stream.by != "cluster":  # digests stay those from before clusters existed
            del part["stream"]["clusters"]
        for key in ("workers", "min_workers", "max_failures", "device", "cpus_per_worker"):
            del part["train"][key]
        for key in ("log_every", "checkpoint_every", "keep_checkpoints", "profile"):
            del part["train"][key]
        return values_without_secrets(part)

    def digest(self) -> str:
        """Return the SHA-256 (hex) of `training_part`; checkpoints hold it."""
        return hashlib.sha256(json.dumps(self.training_part(), sort_keys=True).encode()).hexdigest()


def sections() -> dict[str, type[Section]]:
    """Return the recipe's sections by name, in order."""
    return {
        name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }

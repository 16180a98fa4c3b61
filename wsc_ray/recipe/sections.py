"""The one description of a run: every setting, its default (the paper's, arXiv 2602.09477) and its limits.

`wsc_ray.recipe.reading` reads one from YAML.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

DEFAULT_RECIPE = "wsc-ray.yaml"

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the recipe: unknown keys are refused, values are not coerced silently, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Section):
    manifest: str | None = Field(None, description="folder (or file, or URI) of the patch manifest")
    cohort: str | None = Field(
        None, description="CSV or Parquet table of slides with other labels, splits or folds; null: the manifest's own"
    )
    target: str = Field("label", description="column of the slides' table that holds the label to learn")
    split_column: str = Field("split", description="column that says which split a slide is in")
    pure: Annotated[list[str], Field(min_length=1)] = Field(
        ["negative"], description="slide labels whose every patch is truly of that label"
    )
    mixed: list[str] | None = Field(None, description="slide labels that are a mixture; null: every other label")
    train_split: str = Field("train", description="split used to pretrain and to fit heads")
    val_split: str = Field("val", description="split used to choose heads; made from train patients where absent")
    test_split: str = Field("test", description="split used by `evaluate` alone")


class Encoder(Section):
    backbone: str = Field(
        "resnet18.tv_in1k", description="any timm model name; the paper's weights are torchvision's, tag tv_in1k"
    )
    weights: str = Field("imagenet", description="imagenet (fetched by timm), random, or a folder or .safetensors file")
    norm: Literal["batch", "sync", "group", "frozen"] = Field(
        "batch", description="BatchNorm: each worker's own, sync over workers, GroupNorm instead, or frozen statistics"
    )
    head_hidden: Count | None = Field(None, description="hidden width of the projection head; null: the paper's")
    pixel_mean: tuple[Fraction, Fraction, Fraction] | None = Field(
        None, description="mean of R, G, B taken out of pixels, 0 to 1; null: what the weights were trained with"
    )
    pixel_std: tuple[Positive, Positive, Positive] | None = Field(
        None, description="standard deviation of R, G, B that pixels are divided by; null: likewise"
    )
    head_dim: Count = Field(128, description="width of the projected features the loss sees")


class Loss(Section):
    method: str = Field("weaksupcon", description="weaksupcon, simclr, supcon, or a plug-in's")
    temperature: Positive = Field(0.1, description="t in the loss")
    base_temperature: Positive = Field(0.07, description="t0 in the loss")
    similarity_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the similarity half")
    similarity_warmup: Annotated[int, Field(ge=0)] = Field(
        0, description="steps over which that weight rises from 0; from random weights use a slow rise"
    )
    on_collapse: Literal["warn", "stop"] = Field(
        "warn", description="when all features become one point: warn, or stop"
    )


class Augment(Section):
    size: Annotated[int, Field(ge=8)] = Field(224, description="side of a view, px")
    scale: tuple[Fraction, Fraction] = Field((0.2, 1.0), description="area of the random crop, as a fraction")
    ratio: tuple[Positive, Positive] = Field((3 / 4, 4 / 3), description="aspect ratio of the random crop")
    hflip: Fraction = Field(0.5, description="probability of a horizontal flip")
    vflip: Fraction = Field(0.0, description="probability of a vertical flip")
    brightness: Annotated[float, Field(ge=0, le=1)] = Field(0.4, description="jitter: factor in 1 +- this")
    contrast: Annotated[float, Field(ge=0, le=1)] = Field(0.4, description="jitter: factor in 1 +- this")
    saturation: Annotated[float, Field(ge=0, le=1)] = Field(0.4, description="jitter: factor in 1 +- this")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.1, description="jitter: turn in +- this, of a full circle")
    jitter: Fraction = Field(0.8, description="probability of the colour jitter")
    grayscale: Fraction = Field(0.2, description="probability of grayscale")
    rotate90: bool = Field(False, description="a turn by 0, 90, 180 or 270 degrees, each as likely")
    blur: Fraction = Field(0.0, description="probability of a Gaussian blur")
    blur_sigma: tuple[Positive, Positive] = Field((0.1, 2.0), description="its sigma, from-to, px of the view")
    hed: Fraction = Field(
        0.0, description="stain jitter in HED space: density times 1 +- this, plus +- this; 0.05 light, 0.2 strong"
    )


class Stream(Section):
    sampling: Literal["replacement", "epoch"] = Field(
        "replacement", description="replacement (the paper's), or epoch: each patch of the larger class once"
    )
    by: Literal["patch", "slide", "patient"] = Field(
        "patch", description="what counts the same in a pass: every patch, or every slide or patient of a class"
    )
    shards: Count = Field(
        64, description="parts of the sample order; any number of workers that divides it sees the same"
    )
    window: Count = Field(16, description="steps shuffled together: more mixes better and holds more in memory")
    max_bad_fraction: Fraction = Field(
        0.01, description="share of the training patches that may be unreadable, each replaced, before the run stops"
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        4, description="further tries of what storage does not give, after 0.5, 1, 2, 4, ... seconds"
    )
    record: bool = Field(False, description="write what was fed to the model, patch by patch, into RUN/samples")
    augment_on: Literal["cpu", "device"] = Field(
        "cpu", description="cpu: views are made where patches are read; device: by the training workers' accelerators"
    )


class Train(Section):
    epochs: Annotated[int, Field(ge=0)] = Field(100, description="epochs to train; 0 keeps the weights it starts from")
    steps_per_epoch: Count | None = Field(5000, description="steps an epoch; null: one pass over the larger class")
    batch_size: Annotated[int, Field(ge=4)] = Field(
        512, description="patches a step over all workers, half of them pure"
    )
    micro_batch: Count | None = Field(
        None, description="patches a worker encodes at a time: exact gradients in less memory, a forward pass more"
    )
    workers: Count = Field(1, description="training workers, a GPU each where there are any")
    min_workers: Count | None = Field(
        None, description="train on with as few while nodes are missing, and with more once they are back; null: all"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes GPUs where the cluster has them")
    cpus_per_worker: Positive = Field(1.0, description="CPUs that a training worker reserves; Ray Data needs the rest")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    lr: Positive = Field(0.2, description="learning rate after warm-up")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="SGD momentum")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="SGD weight decay")
    warmup_epochs: Annotated[float, Field(ge=0)] = Field(3, description="epochs of linear warm-up")
    warmup_lr: Annotated[float, Field(ge=0)] = Field(0.001, description="learning rate at step 0 of the warm-up")
    schedule: Literal["step", "cosine"] = Field("step", description="step: halved at the milestones; or cosine to 0")
    milestones: list[Count] = Field([16, 28, 40, 50, 60, 68, 76, 83, 90], description="epochs at which lr is cut")
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="factor of each cut")
    log_every: Count = Field(50, description="steps between metrics")
    checkpoint_every: Count | None = Field(None, description="steps between checkpoints; null: every epoch")
    keep_checkpoints: Count = Field(2, description="checkpoints kept")
    max_failures: Annotated[int, Field(ge=-1)] = Field(3, description="worker failures survived; -1: any number")
    profile: bool = Field(False, description="write where each step's time goes into RUN/steps, at a little speed")

    @property
    def fewest_workers(self) -> int:
        return self.workers if self.min_workers is None else self.min_workers


class Embed(Section):
    size: Annotated[int, Field(ge=8)] | None = Field(
        None, description="side patches are resized to, px; null: as trained"
    )
    batch_size: Count = Field(256, description="patches a forward pass")
    workers: Count = Field(1, description="encoder replicas, a GPU each where there are any")


class Tune(Section):
    heads: Annotated[list[str], Field(min_length=1)] = Field(
        ["abmil"],
        description="MIL heads to try, in turn: abmil, clam-sb, clam-mb, dsmil, dtfd, transmil, mean, mean-mlp, max, "
        "instance-mean, or a plug-in's",
    )
    trials: Count = Field(16, description="settings to try")
    concurrent: Count = Field(2, description="trials at a time")
    epochs: Count = Field(50, description="most epochs of a trial")
    patience: Count = Field(10, description="epochs without a better validation loss before a trial stops")
    bags_per_step: Count = Field(8, description="slides a gradient step")
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of train patients used to choose, where the manifest has no validation split"
    )
    lr: tuple[Positive, Positive] = Field((1e-4, 1e-2), description="learning rate, from-to, log-uniform")
    weight_decay: tuple[Positive, Positive] = Field((1e-6, 1e-2), description="weight decay, from-to, log-uniform")
    dropout: tuple[Fraction, Fraction] = Field((0.0, 0.5), description="dropout, from-to")
    hidden: Annotated[list[Count], Field(min_length=1)] = Field(
        [128, 256, 512], description="width of the instance embedding"
    )
    attention: Annotated[list[Count], Field(min_length=1)] = Field([64, 128, 256], description="width of the attention")
    gated: Annotated[list[bool], Field(min_length=1)] = Field([True, False], description="gated attention or plain")


class Evaluate(Section):
    bootstrap: Annotated[int, Field(ge=100)] = Field(2000, description="bootstrap samples of patients")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="level of the intervals")


class Tracking(Section):
    uri: str | None = Field(
        None, description="MLflow store; null: $MLFLOW_TRACKING_URI, else mlflow.db, here or beside a remote run"
    )
    experiment: str = Field("wsc-ray", description="MLflow experiment")


class Recipe(Section):
    """A run from manifest to evaluation. `Recipe()` is the paper's setting; only `data.manifest` has no default."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="of the sample order, weights and search")
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
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def training_part(self) -> dict[str, Any]:
        """What decides the trained weights: all of the recipe that a resumed run must not change.

        Left out: the parts for later commands, and what changes where and how often a run reports but not its
        result (the number of workers and their resources, logging, checkpointing, retries, tracking).
        """
        part = self.model_dump(mode="json", exclude={"embed", "tune", "evaluate", "tracking"})
        # What the cohort comes to for training is compared by its digest; see `wsc_ray.pretrain.run`.
        for key in ("val_split", "test_split", "cohort", "target", "split_column"):
            del part["data"][key]
        for key in ("pixel_mean", "pixel_std"):  # a run keeps what they come to, and compares that
            del part["encoder"][key]
        del part["loss"]["on_collapse"]
        for key in ("max_bad_fraction", "retries", "record"):
            del part["stream"][key]
        for key in ("workers", "min_workers", "max_failures", "device", "cpus_per_worker"):
            del part["train"][key]
        for key in ("log_every", "checkpoint_every", "keep_checkpoints", "profile"):
            del part["train"][key]
        return part

    def digest(self) -> str:
        """SHA-256 (hex) of `training_part`, written into checkpoints."""
        return hashlib.sha256(json.dumps(self.training_part(), sort_keys=True).encode()).hexdigest()


def sections() -> dict[str, type[Section]]:
    """The recipe's sections by name, in order."""
    return {
        name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }

"""The sections of a recipe that determine the encoder, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from wsc_ray.recipe.section import (
    EPOCHS,
    PATCHES,
    STEPS,
    Batch,
    Epochs,
    Fraction,
    Name,
    NoRate,
    Place,
    Rate,
    Ratio,
    Scale,
    Section,
    Side,
    Sigma,
    Steps,
    Width,
    Workers,
)

PROGRESS: Final = "progress"  # of the contrastive half, that the similarity half's weight follows


class Encoder(Section):
    backbone: Name = Field(
        "resnet18.tv_in1k",
        description="any timm model name; the paper's weights are torchvision's, tag tv_in1k; with data.features: mlp",
    )
    weights: Place = Field(
        "imagenet", description="imagenet (downloaded by timm), random, or a folder or .safetensors file"
    )
    norm: Literal["batch", "sync", "group", "frozen"] = Field(
        "batch",
        description="batch: BatchNorm of each worker alone; sync: over all workers; group: GroupNorm instead; frozen: fixed statistics",
    )
    head_hidden: Width | None = Field(None, description="hidden width of the projection head; null: the paper's")
    pixel_mean: tuple[Fraction, Fraction, Fraction] | None = Field(
        None, description="mean of R, G, B that is subtracted from pixels, 0 to 1; null: that of the weights' training"
    )
    pixel_std: tuple[Scale, Scale, Scale] | None = Field(
        None,
        description="standard deviation of R, G, B that pixels are divided by; null: that of the weights' training",
    )
    head_dim: Width = Field(128, description="width of the projected features the loss sees")
    mlp_hidden: Annotated[list[Width], Field(max_length=16)] = Field(
        [512], description="widths of the hidden layers of backbone mlp"
    )
    mlp_width: Width = Field(256, description="width of the features that backbone mlp returns")


class Loss(Section):
    method: Name = Field("weaksupcon", description="weaksupcon, simclr, supcon, or a plug-in's")
    temperature: Scale = Field(0.1, description="t in the loss")
    base_temperature: Scale = Field(0.07, description="t0 in the loss")
    similarity_weight: Annotated[float, Field(ge=0, le=1000)] = Field(1.0, description="weight of the similarity half")
    similarity_warmup: Annotated[int, Field(ge=0, le=STEPS)] | Literal["progress"] = Field(
        PROGRESS,
        description="progress: that weight rises and falls with what the contrastive half has learned, so that features do not fall "
        "together; or steps over which it rises from 0, where 0 is the paper's constant weight",
    )
    on_collapse: Literal["warn", "stop"] = Field(
        "warn", description="when all features become one point: warn, or stop"
    )


class Augment(Section):
    size: Side = Field(224, description="side of a view, px")
    scale: tuple[Fraction, Fraction] = Field(
        (0.2, 1.0), description="area of the random crop, as a fraction of the patch"
    )
    ratio: tuple[Ratio, Ratio] = Field((3 / 4, 4 / 3), description="aspect ratio of the random crop")
    hflip: Fraction = Field(0.5, description="probability of a horizontal flip")
    vflip: Fraction = Field(0.0, description="probability of a vertical flip")
    brightness: Annotated[float, Field(ge=0, le=1)] = Field(0.4, description="jitter: factor in 1 +- this")
    contrast: Annotated[float, Field(ge=0, le=1)] = Field(0.4, description="jitter: factor in 1 +- this")
    saturation: Annotated[float, Field(ge=0, le=1)] = Field(0.4, description="jitter: factor in 1 +- this")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="jitter: turn in +- this, as a fraction of a full circle"
    )
    jitter: Fraction = Field(0.8, description="probability of the colour jitter")
    grayscale: Fraction = Field(0.2, description="probability of grayscale")
    rotate90: bool = Field(False, description="whether to turn by 0, 90, 180 or 270 degrees, equally likely")
    blur: Fraction = Field(0.0, description="probability of a Gaussian blur")
    blur_sigma: tuple[Sigma, Sigma] = Field((0.1, 2.0), description="sigma of the blur, from-to, px of the view")
    hed: Fraction = Field(
        0.0, description="stain jitter in HED space: density times 1 +- this, plus +- this; 0.05 light, 0.2 strong"
    )
    neighbour: Fraction = Field(
        0.0,
        description="probability that the second view is of a neighbouring patch of the slide; needs true positions",
    )


class Stream(Section):
    sampling: Literal["replacement", "epoch"] = Field(
        "replacement", description="replacement (the paper's), or epoch: each patch of the larger class once"
    )
    by: Literal["patch", "slide", "patient", "cluster"] = Field(
        "patch",
        description="what has equal weight in a pass: every patch, or every slide or patient of a class; or in the pure class every cluster of "
        "features",
    )
    clusters: Annotated[int, Field(ge=2, le=1000)] = Field(
        64, description="number of clusters of the pure class, for by: cluster"
    )
    features: Place | None = Field(
        None, description="folder (or URI) of the features to cluster, for by: cluster; null: data.features"
    )
    shards: Annotated[int, Field(ge=1, le=65_536)] = Field(
        64,
        description="parts of the sample order, which is the same for every number of workers up to this; divides half of train.batch_size",
    )
    window: Annotated[int, Field(ge=1, le=100_000)] = Field(
        16, description="steps that are shuffled together: more mixes better and needs more memory"
    )
    max_bad_fraction: Fraction = Field(
        0.01, description="share of the training patches that may be unreadable, each replaced, before the run stops"
    )
    retries: Annotated[int, Field(ge=0, le=15)] = Field(
        4, description="how often a failed read is repeated, after 0.5, 1, 2, 4, ... seconds"
    )
    record: bool = Field(False, description="write every patch that the model was trained on to RUN/samples")
    augment_on: Literal["cpu", "device"] = Field(
        "cpu", description="cpu: views are made where patches are read; device: on the training workers' accelerators"
    )


class Train(Section):
    epochs: Annotated[int, Field(ge=0, le=EPOCHS)] = Field(
        100, description="epochs to train; 0 keeps the starting weights"
    )
    steps_per_epoch: Steps | None = Field(5000, description="steps per epoch; null: one pass over the larger class")
    batch_size: Annotated[int, Field(ge=4, le=PATCHES)] = Field(
        512, description="patches per step over all workers, half of them pure"
    )
    micro_batch: Batch | None = Field(
        None,
        description="patches that a worker encodes at a time: exact gradients in less memory, for one more forward pass",
    )
    workers: Workers = Field(1, description="training workers, each with a GPU if the cluster has any")
    min_workers: Workers | None = Field(
        None, description="least number of workers to train on with while nodes are missing; null: all workers"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes GPUs where the cluster has them")
    cpus_per_worker: Annotated[float, Field(ge=0.01, le=1024)] = Field(
        1.0, description="CPUs that a training worker reserves; Ray Data needs the rest"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    lr: Rate = Field(0.2, description="learning rate after warm-up")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="SGD momentum")
    weight_decay: Annotated[float, Field(ge=0, le=100)] = Field(1e-4, description="SGD weight decay")
    warmup_epochs: Annotated[float, Field(ge=0, le=EPOCHS)] = Field(3, description="epochs of linear warm-up")
    warmup_lr: NoRate = Field(0.001, description="learning rate at step 0 of the warm-up")
    schedule: Literal["step", "cosine"] = Field("step", description="step: halved at the milestones; or cosine to 0")
    milestones: Annotated[list[Epochs], Field(max_length=1000)] = Field(
        [16, 28, 40, 50, 60, 68, 76, 83, 90], description="epochs at which lr is multiplied by gamma"
    )
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="factor of lr at each milestone")
    log_every: Steps = Field(50, description="steps between metrics")
    checkpoint_every: Steps | None = Field(None, description="steps between checkpoints; null: every epoch")
    keep_checkpoints: Annotated[int, Field(ge=1, le=10_000)] = Field(2, description="number of checkpoints to keep")
    max_failures: Annotated[int, Field(ge=-1, le=1_000_000)] = Field(
        3, description="number of worker failures that a run survives; -1: any number"
    )
    profile: bool = Field(False, description="write the times of each step's parts to RUN/steps; costs a little speed")

    @property
    def fewest_workers(self) -> int:
        return self.workers if self.min_workers is None else self.min_workers

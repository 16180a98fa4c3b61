"""The sections of a recipe for what follows training: features, heads, metrics, and where they are logged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wsc_ray.recipe.section import (
    NAME,
    Batch,
    Decay,
    Epochs,
    Fraction,
    Name,
    Place,
    Rate,
    Section,
    Side,
    Width,
    Workers,
)


class Embed(Section):
    size: Side | None = Field(None, description="side that patches are resized to, px; null: as trained")
    batch_size: Batch = Field(256, description="patches per forward pass")
    workers: Workers = Field(1, description="copies of the encoder, each with a GPU if the cluster has any")


class Tune(Section):
    heads: Annotated[list[Name], Field(min_length=1, max_length=100)] = Field(
        ["abmil"],
        description="MIL heads to try, in turn: abmil, clam-sb, clam-mb, dsmil, dtfd, transmil, mean, mean-mlp, max, "
        "instance-mean, or a plug-in's",
    )
    trials: Annotated[int, Field(ge=1, le=10_000)] = Field(16, description="settings to try")
    seeds: Annotated[int, Field(ge=1, le=1000)] = Field(
        5, description="fits of the chosen setting, each with its own seed; a prediction is the mean of theirs"
    )
    search: Literal["random", "tpe"] = Field(
        "random", description="random: heads in turn, settings at random; tpe: Optuna's, over heads and settings"
    )
    scheduler: Literal["none", "asha"] = Field("none", description="asha: stop trials early that are worse than others")
    grace: Epochs = Field(
        5, description="epochs after which asha first compares trials, and again at three times as many"
    )
    concurrent: Annotated[int, Field(ge=1, le=1024)] = Field(2, description="trials at a time")
    cpus_per_trial: Annotated[float, Field(ge=0.01, le=1024)] = Field(
        1.0, description="CPUs that a trial reserves; it uses one thread per whole CPU"
    )
    gpus_per_trial: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of a GPU that a trial reserves; 0: trials run on CPUs"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    features: Literal["memory", "disk"] = Field(
        "memory", description="memory: read once; disk: read at each step, for cohorts larger than memory"
    )
    max_instances: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="patches of a slide that a gradient step uses, drawn anew each time; null: all"
    )
    epochs: Epochs = Field(50, description="largest number of epochs of a trial")
    patience: Epochs = Field(10, description="epochs without a better validation loss before a trial stops")
    bags_per_step: Annotated[int, Field(ge=1, le=10_000)] = Field(8, description="slides per gradient step")
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of training patients used to choose, if there is no validation split"
    )
    lr: tuple[Rate, Rate] = Field((1e-4, 1e-2), description="learning rate, from-to, log-uniform")
    weight_decay: tuple[Decay, Decay] = Field((1e-6, 1e-2), description="weight decay, from-to, log-uniform")
    dropout: tuple[Fraction, Fraction] = Field((0.0, 0.5), description="dropout, from-to")
    hidden: Annotated[list[Width], Field(min_length=1, max_length=100)] = Field(
        [128, 256, 512], description="width of the instance embedding"
    )
    attention: Annotated[list[Width], Field(min_length=1, max_length=100)] = Field(
        [64, 128, 256], description="width of the attention"
    )
    gated: Annotated[list[bool], Field(min_length=1, max_length=100)] = Field(
        [True, False], description="gated attention or plain"
    )


class Evaluate(Section):
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = Field(
        2000, description="number of bootstrap samples of patients and members"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="level of the intervals")
    order: Annotated[list[Name], Field(min_length=2, max_length=1000)] | None = Field(
        None, description="labels from the mildest to the most severe, for quadratic kappa; null: they have no order"
    )
    neighbours: Annotated[int, Field(ge=1, le=1000)] = Field(20, description="number of nearest neighbours in `probe`")
    probe_patches: Annotated[int, Field(ge=1, le=100_000)] = Field(
        200, description="largest number of patches of known label of each slide in `probe`, drawn at random"
    )


class Tracking(Section):
    uri: Place | None = Field(
        None,
        description="MLflow store; null: $MLFLOW_TRACKING_URI, or else mlflow.db in this folder or beside a run in a bucket",
    )
    experiment: Name = Field("wsc-ray", description="MLflow experiment")
    model: Annotated[str, Field(min_length=1, max_length=NAME, pattern=r"^[^/:'\\]+$")] | None = Field(
        "wsc-ray", description="name in MLflow's model registry under which `tune` registers versions; null: none"
    )

"""The definition of a recipe: every setting, its default and its limits.

Defaults are the paper's (arXiv 2602.09477), except that of `loss.similarity_warmup`: `docs/collapse.md` explains why.

`wsc_ray.recipe.reading` reads a recipe from YAML.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from wsc_ray.uris import values_without_secrets

DEFAULT_RECIPE = "wsc-ray.yaml"
MLP = "mlp"  # the backbone that takes features
PROGRESS: Final = "progress"  # of the contrastive half, that the similarity half's weight follows

# Every number has an upper limit, which the file of `wsc-ray init` shows. It is above what anybody needs, and below numbers that
# would overflow, exhaust the memory, or never end.
EPOCHS = 100_000
STEPS = 999_999_999  # steps of a whole run: the names of checkpoints and records have nine digits
PATCHES = 1 << 20  # patches of a batch
WIDTH = 1 << 16  # width of a layer
NAME, PLACE = 200, 4096  # characters of a name, and of a path or URI

Fraction = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=1e-4, le=1000)]  # a divisor or a factor
Ratio = Annotated[float, Field(ge=0.01, le=100)]
Sigma = Annotated[float, Field(ge=1e-3, le=1024)]  # px
Rate = Annotated[float, Field(gt=0, le=1000)]  # a learning rate
NoRate = Annotated[float, Field(ge=0, le=1000)]
Decay = Annotated[float, Field(gt=0, le=100)]
Workers = Annotated[int, Field(ge=1, le=4096)]
Batch = Annotated[int, Field(ge=1, le=PATCHES)]
Steps = Annotated[int, Field(ge=1, le=STEPS)]
Width = Annotated[int, Field(ge=1, le=WIDTH)]
Side = Annotated[int, Field(ge=8, le=4096)]  # px
Epochs = Annotated[int, Field(ge=1, le=EPOCHS)]
Name = Annotated[str, Field(min_length=1, max_length=NAME)]
Place = Annotated[str, Field(min_length=1, max_length=PLACE)]


def _types(annotation: Any) -> set[Any]:
    """Return an annotation and all the types it contains."""
    return {annotation}.union(*map(_types, get_args(annotation)))


class Section(BaseModel):
    """A section of the recipe: it refuses unknown keys, coerces no values silently, and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `epochs: true`, which would be 1, and `profile: 1`, which would be true."""
        assert info.field_name is not None  # pydantic sets it for the validator of a field
        takes = _types(cls.model_fields[info.field_name].annotation)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) and takes & {int, float} and bool not in takes:
                raise PydanticCustomError("number", "input should be a number")
            if isinstance(item, int | float) and not isinstance(item, bool) and bool in takes:
                raise PydanticCustomError("truth", "input should be true or false")
        return value


class Data(Section):
    manifest: Place | None = Field(None, description="folder (or file, or URI) of the patch manifest")
    features: Place | None = Field(
        None,
        description="folder (or URI) of features to train on instead of pixels, with the views that `embed --views` writes; null: "
        "pixels of the manifest",
    )
    cohort: Place | None = Field(
        None, description="CSV or Parquet table of slides with other labels, splits or folds; null: the manifest's own"
    )
    target: Name = Field("label", description="column of the table of slides with the label to learn")
    split_column: Name = Field("split", description="column of the table of slides with the split")
    fold: Name | None = Field(
        None, description="column of folds, which `tune` and `evaluate` hold out in turn, instead of using the splits"
    )
    pure: Annotated[list[Name], Field(min_length=1, max_length=1000)] = Field(
        ["negative"], description="labels of pure slides, whose every patch truly has the label"
    )
    mixed: Annotated[list[Name], Field(max_length=1000)] | None = Field(
        None, description="labels of mixed slides; null: every other label"
    )
    train_split: Name = Field("train", description="split used to pretrain and to fit heads")
    val_split: Name = Field(
        "val", description="split used to choose heads; without it, some training patients are used"
    )
    test_split: Name = Field("test", description="split that only `evaluate` uses")


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
    clusters: Annotated[int, Field(ge=2, le=10_000)] = Field(
        64, description="number of clusters of the pure class, for by: cluster"
    )
    features: Place | None = Field(
        None, description="folder (or URI) of the features to cluster, for by: cluster; null: data.features"
    )
    shards: Annotated[int, Field(ge=1, le=65_536)] = Field(
        64, description="parts of the sample order; any number of workers that divides it sees the same order"
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


class Recipe(Section):
    """A run from manifest to evaluation. `Recipe()` is the paper's setting; only `data.manifest` has no default."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="seed of the sample order, the weights and the search"
    )
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

        It leaves out the sections of later commands, and settings that do not change the result: the number of workers and their
        resources, logging, checkpointing, retries, tracking.
        """
        part = self.model_dump(mode="json", exclude={"embed", "tune", "evaluate", "tracking"})
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


def limits(section: type[Section], name: str) -> str:
    """Return the limits of a number, or of a list of numbers, as text; "" for other settings.

    Such as `1 to 4096`, or `above 0 to below 1`.
    """
    for schema in _schemas(section.model_json_schema()["properties"][name]):
        if schema.get("type") in ("integer", "number"):
            start = _plain(schema["minimum"]) if "minimum" in schema else f"above {_plain(schema['exclusiveMinimum'])}"
            end = _plain(schema["maximum"]) if "maximum" in schema else f"below {_plain(schema['exclusiveMaximum'])}"
            return f"{start} to {end}"
    return ""


def _schemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a JSON schema and all schemas that it contains."""
    inner = [
        *schema.get("anyOf", []),
        *schema.get("prefixItems", []),
        *([schema["items"]] if "items" in schema else []),
    ]
    return [schema, *(nested for part in inner for nested in _schemas(part))]


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"

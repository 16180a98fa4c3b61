"""Combinations of settings that are impossible for a run."""

from __future__ import annotations

from collections.abc import Iterable

from wsc_ray.recipe.sections import MLP, STEPS, Recipe
from wsc_ray.uris import has_secrets


def impossible(recipe: Recipe) -> Iterable[tuple[tuple[str, ...], str]]:
    """Yield the recipe's impossible combinations: the keys involved, of which the first is the one to change, and a sentence."""
    train, stream, data = recipe.train, recipe.stream, recipe.data
    if recipe.tracking.uri and has_secrets(recipe.tracking.uri):
        yield (
            ("tracking.uri",),
            "it holds a password, user or token, which the run folder would keep; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment",
        )
    if not recipe.tracking.experiment.strip() or not recipe.tracking.experiment.isprintable():
        yield ("tracking.experiment",), f"{recipe.tracking.experiment!r} is no name; use characters that can be printed"
    yield from _impossible_to_cut(recipe)
    for name, labels in (("data.pure", data.pure), ("data.mixed", data.mixed or [])):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            yield (name,), f"{', '.join(twice)} occurs twice; keep one"
    if train.batch_size % 2:
        yield (
            ("train.batch_size",),
            f"{train.batch_size} is odd; half of a batch is pure and half mixed, so make it even",
        )
    elif train.batch_size // 2 % stream.shards:
        yield (
            ("stream.shards", "train.batch_size"),
            f"{stream.shards} does not divide {train.batch_size // 2}, half of train.batch_size: every shard gives the "
            f"same number of patches to a step; {_largest_divisor(train.batch_size // 2, stream.shards)} does",
        )
    if train.workers > stream.shards:
        yield (
            ("train.workers", "stream.shards"),
            f"{train.workers} workers cannot share {stream.shards} shards (stream.shards): each takes one at least",
        )
    if train.steps_per_epoch is not None and train.epochs * train.steps_per_epoch > STEPS:
        yield (
            ("train.steps_per_epoch", "train.epochs"),
            f"{train.epochs} epochs of {train.steps_per_epoch} steps are more than {STEPS:,}, the most steps of a run",
        )
    if train.fewest_workers > train.workers:
        yield (
            ("train.min_workers", "train.workers"),
            f"{train.min_workers} is more than train.workers ({train.workers}); give at most as many, or null",
        )
    for section, key in (
        ("augment", "scale"),
        ("augment", "ratio"),
        ("augment", "blur_sigma"),
        ("tune", "lr"),
        ("tune", "weight_decay"),
        ("tune", "dropout"),
    ):
        low, high = getattr(getattr(recipe, section), key)
        if low > high:
            yield (f"{section}.{key}",), f"runs from {low} to {high}; put the smaller first"
    if recipe.augment.scale[1] == 0:
        yield ("augment.scale",), "a crop of no area; the upper end must be above 0"
    size, widest = recipe.augment.size, recipe.augment.blur_sigma[1]
    if recipe.augment.blur and widest > size / 4:
        yield (
            ("augment.blur_sigma", "augment.blur", "augment.size"),
            f"a sigma of {widest:g} px is too wide for views of {size} px; give at most a quarter of their side, "
            f"{size / 4:g}",
        )
    if recipe.augment.neighbour and stream.augment_on == "device":
        yield (
            ("augment.neighbour", "stream.augment_on"),
            "device makes both views of one image, and a neighbour is another; set stream.augment_on: cpu",
        )
    if train.steps_per_epoch is None and stream.sampling == "replacement":
        yield (
            ("train.steps_per_epoch", "stream.sampling"),
            "null needs stream.sampling: epoch, since sampling with replacement has no end; give a number of steps",
        )
    if stream.by == "cluster" and not (stream.features or data.features):
        yield (
            ("stream.features", "stream.by"),
            "missing; by: cluster needs features of the training slides: a folder that `wsc-ray embed` wrote",
        )
    if stream.features and stream.by != "cluster":
        yield ("stream.features", "stream.by"), "only by: cluster uses it; set stream.by: cluster, or this to null"
    both = sorted(set(data.pure) & set(data.mixed or []))
    if both:
        yield ("data.mixed", "data.pure"), f"{', '.join(both)} is in data.pure too; a label is either pure or mixed"
    if data.mixed == []:
        yield ("data.mixed",), "no label is mixed; name at least one, or null for every label that is not pure"
    order = recipe.evaluate.order
    if order is not None and len(set(order)) < len(order):
        yield ("evaluate.order",), f"a label occurs twice in {', '.join(order)}; name each once"
    splits = [data.train_split, data.val_split, data.test_split]
    if len(set(splits)) < 3:
        yield (
            ("data.train_split", "data.val_split", "data.test_split"),
            f"the three splits need three names, not {splits}",
        )
    if train.schedule == "cosine" and 0 < train.epochs <= train.warmup_epochs:
        yield (
            ("train.warmup_epochs", "train.epochs"),
            f"{train.warmup_epochs:g} leaves none of the {train.epochs} epochs for the cosine",
        )
    if recipe.encoder.norm == "frozen" and recipe.encoder.weights == "random":
        yield (
            ("encoder.norm", "encoder.weights"),
            "frozen keeps the statistics that come with the weights, and random weights have none; use batch or sync",
        )
    if recipe.encoder.norm == "group" and recipe.encoder.weights == "imagenet":
        yield (
            ("encoder.norm", "encoder.weights"),
            "ImageNet weights were trained with BatchNorm and do not fit group; use sync, or encoder.weights: random",
        )
    if recipe.tune.scheduler == "asha" and recipe.tune.grace >= recipe.tune.epochs:
        yield (
            ("tune.grace", "tune.epochs", "tune.scheduler"),
            f"{recipe.tune.grace} epochs leave asha none of {recipe.tune.epochs} (tune.epochs) to stop; give fewer",
        )
    if recipe.tune.precision == "bf16" and not recipe.tune.gpus_per_trial:
        yield (
            ("tune.precision", "tune.gpus_per_trial"),
            "bf16 needs a GPU; set tune.gpus_per_trial, or use fp32",
        )
    if 1 < recipe.tune.cpus_per_trial != int(recipe.tune.cpus_per_trial):
        yield ("tune.cpus_per_trial",), f"{recipe.tune.cpus_per_trial:g}: above 1 give a whole number of CPUs"
    if data.features:
        yield from _impossible_on_features(recipe)
    if train.device == "cpu" and train.precision == "bf16":
        yield ("train.precision", "train.device"), "bf16 needs a GPU; on the CPU use fp32"


def _impossible_to_cut(recipe: Recipe) -> Iterable[tuple[tuple[str, ...], str]]:
    """Yield the settings of `tile` that cannot be combined."""
    tile = recipe.tile
    for name in ("slides", "folder", "masks"):
        if has_secrets(getattr(tile, name) or ""):
            yield (
                (f"tile.{name}",),
                "it holds a password or key, which the run folder would keep; give it to the nodes in their environment",
            )
    if tile.overlap >= tile.patch_size:
        yield (
            ("tile.overlap", "tile.patch_size"),
            f"{tile.overlap} px are not less than a patch (tile.patch_size: {tile.patch_size})",
        )
    if tile.row_group_rows > tile.file_rows:
        yield (
            ("tile.row_group_rows", "tile.file_rows"),
            f"{tile.row_group_rows} is more than a file holds (tile.file_rows: {tile.file_rows})",
        )
    both = sorted(tile.columns.keys() & tile.constants.keys())
    if both:
        yield ("tile.constants", "tile.columns"), f"{', '.join(both)} has both a column and a constant; give one"


def _impossible_on_features(recipe: Recipe) -> Iterable[tuple[tuple[str, ...], str]]:
    """Yield the settings that cannot be combined with `data.features`."""
    if recipe.data.manifest:
        yield (
            ("data.features", "data.manifest"),
            "a run trains on features or on the pixels of a manifest; set one of the two to null",
        )
    if recipe.encoder.backbone != MLP:
        yield (
            ("encoder.backbone", "data.features"),
            f"{recipe.encoder.backbone} takes pixels, and the run trains on features (data.features); set it to {MLP}",
        )
    elif recipe.encoder.weights == "imagenet":
        yield (
            ("encoder.weights", "data.features"),
            f"there are no ImageNet weights for {MLP}; use random, or the folder of another run's encoder",
        )
    if recipe.encoder.pixel_mean or recipe.encoder.pixel_std:
        yield ("encoder.pixel_mean", "encoder.pixel_std", "data.features"), "features have no pixels; set both to null"
    if recipe.augment.neighbour:
        yield (
            ("augment.neighbour", "data.features"),
            "the views of a feature store are of one patch each; set it to 0, or train on a manifest",
        )
    if recipe.stream.augment_on == "device":
        yield (
            ("stream.augment_on", "data.features"),
            "device makes views of images, and those of features are stored by embed --views; set it to cpu",
        )


def _largest_divisor(number: int, at_most: int) -> int:
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)

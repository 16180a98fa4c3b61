"""Reading a recipe: YAML and `a.b=c` overrides in, a `Recipe` out, or every problem at once.

Each problem names the key it stands at and what was probably meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from wsc_ray.errors import RecipeError
from wsc_ray.recipe.sections import DEFAULT_RECIPE, Recipe, sections
from wsc_ray.storage import AnyPath, as_path, shown


def load_recipe(path: str | AnyPath | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply overrides such as `train.epochs=3` (values are YAML).

    Without `path`, `wsc-ray.yaml` of the current folder is used where it exists, else the defaults alone.

    Raises:
        RecipeError: the file is missing or not YAML, or any key, type, value or combination is wrong; all are listed.
    """
    if path is None and Path(DEFAULT_RECIPE).is_file():
        path = DEFAULT_RECIPE
    source = shown(path) if path is not None else "recipe"
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(as_path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
            raise RecipeError(
                source, [f"cannot be read: {reason}; `wsc-ray init` writes a recipe to start from"]
            ) from None
        except yaml.YAMLError as error:
            raise RecipeError(source, ["not valid YAML: " + " ".join(str(error).split())]) from None
        values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError(source, [f"holds a {type(values).__name__}, not sections of settings such as `train:`"])
    problems = []
    for override in overrides:
        problem = _apply_override(values, override)
        if problem:
            problems.append(problem)
    return validate_recipe(values, source=source, problems=problems)


def absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with its paths as they hold in any folder: a job's, and the one where a later command is typed."""
    data, encoder = recipe.data, recipe.encoder
    data = data.model_copy(
        update={name: _absolute(value) for name in ("manifest", "cohort") if (value := getattr(data, name))}
    )
    if encoder.weights not in ("imagenet", "random"):
        encoder = encoder.model_copy(update={"weights": _absolute(encoder.weights)})
    return recipe.model_copy(update={"data": data, "encoder": encoder})


def _absolute(place: str) -> str:
    """A local path from the root on; a URI as it is."""
    return place if "://" in place and not place.startswith("file://") else str(as_path(place))


def validate_recipe(values: Mapping[str, Any], *, source: str = "recipe", problems: Iterable[str] = ()) -> Recipe:
    """Build a `Recipe`, or raise one `RecipeError` that lists everything wrong with `values`.

    Wrong keys are taken out and the rest is checked again, so that an impossible combination elsewhere is reported
    in the same breath as a misspelt key.
    """
    problems = list(problems)
    bad: set[tuple[str, ...]] = set()
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            where = tuple(str(part) for part in item["loc"])
            problems.append(_explain(item, where))
            bad.add(where[:2])
        try:
            recipe = Recipe.model_validate(_without(values, bad))
        except ValidationError:
            raise RecipeError(source, problems) from None
    problems += [f"`{keys[0]}`: {text}" for keys, text in _impossible(recipe) if not bad & {_path(key) for key in keys}]
    if problems:
        raise RecipeError(source, problems)
    return recipe


def _impossible(recipe: Recipe) -> Iterable[tuple[tuple[str, ...], str]]:
    """Combinations that no run can have: the keys involved, the first the one to change, and a sentence."""
    train, stream, data = recipe.train, recipe.stream, recipe.data
    if recipe.tracking.uri and _has_password(recipe.tracking.uri):
        yield (
            ("tracking.uri",),
            "it holds a password, which the run folder would keep; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment",
        )
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
    if train.steps_per_epoch is None and stream.sampling == "replacement":
        yield (
            ("train.steps_per_epoch", "stream.sampling"),
            "null needs stream.sampling: epoch, since sampling with replacement has no end; give a number of steps",
        )
    both = sorted(set(data.pure) & set(data.mixed or []))
    if both:
        yield ("data.mixed", "data.pure"), f"{', '.join(both)} is in data.pure too; a label is either pure or mixed"
    if data.mixed == []:
        yield ("data.mixed",), "no label is mixed; name at least one, or null for every label that is not pure"
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
    if train.device == "cpu" and train.precision == "bf16":
        yield ("train.precision", "train.device"), "bf16 needs a GPU; on the CPU use fp32"


def _has_password(uri: str) -> bool:
    try:
        return bool(urlsplit(uri).password)
    except ValueError:  # no URI at all; whoever opens it says so
        return False


def _largest_divisor(number: int, at_most: int) -> int:
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)


def _path(key: str) -> tuple[str, ...]:
    return tuple(key.split("."))


def _without(values: Mapping[str, Any], bad: set[tuple[str, ...]]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if (str(key),) in bad:
            continue
        if isinstance(value, Mapping):
            value = {k: v for k, v in value.items() if (str(key), str(k)) not in bad}
        kept[key] = value
    return kept


def _explain(item: Mapping[str, Any], where: tuple[str, ...]) -> str:
    """One pydantic error as a sentence: where it stands, what is wrong, what was probably meant."""
    dotted = ".".join(where)
    if item["type"] != "extra_forbidden":
        if item["type"] in ("model_type", "model_attributes_type"):
            return f"`{dotted}`: {item['input']!r} is not a section of settings"
        return f"`{dotted}`: {item['msg'][:1].lower()}{item['msg'][1:]}, not {item['input']!r}"
    section = sections().get(where[0]) if len(where) > 1 else None
    siblings = section.model_fields if section is not None else Recipe.model_fields
    near = difflib.get_close_matches(where[-1], siblings, n=1, cutoff=0.6)
    if near:
        return f"`{dotted}`: unknown, did you mean `{'.'.join((*where[:-1], near[0]))}`?"
    homes = [f"`{name}.{where[-1]}`" for name, model in sections().items() if where[-1] in model.model_fields]
    if homes:
        return f"`{dotted}`: unknown, did you mean {' or '.join(homes)}?"
    return f"`{dotted}`: unknown; there are {', '.join(siblings)}"


def _apply_override(values: dict[str, Any], override: str) -> str | None:
    """Set `a.b=c` in `values`; a sentence where it cannot be."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        return f"--set {override}: write it as key=value, such as train.epochs=3"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"--set {override}: the value is not valid YAML"
    if isinstance(value, str):
        value = _number(value)
    for part in parts[:-1]:
        inner = values.get(part)
        if inner is None:
            inner = values[part] = {}
        if not isinstance(inner, dict):
            return f"--set {override}: `{part}` is not a section"
        values = inner
    values[parts[-1]] = value
    return None


def _number(text: str) -> str | float:
    """YAML 1.1 reads `1e-4` as text; a user means the number."""
    try:
        return float(text)
    except ValueError:
        return text

"""Reading a recipe from YAML and `a.b=c` overrides. All problems are reported at once.

Each problem names its key and, for an unknown key, the key that was probably meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsc_ray import plain_yaml
from wsc_ray.errors import RecipeError
from wsc_ray.plain_yaml import quoted, shortened
from wsc_ray.recipe.impossible import impossible
from wsc_ray.recipe.sections import DEFAULT_RECIPE, Recipe, sections
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.uris import shown


def load_recipe(path: str | AnyPath | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply overrides such as `train.epochs=3` (values are YAML).

    Without `path`, `wsc-ray.yaml` of the current folder is used if it exists, or else the defaults.

    Raises:
        RecipeError: the file is missing or not YAML, or keys, types, values or combinations are wrong; all are listed.
    """
    if path is None and Path(DEFAULT_RECIPE).is_file():
        path = DEFAULT_RECIPE
    source = shown(path) if path is not None else "recipe"
    values: Any = {}
    if path is not None:
        try:
            values = plain_yaml.load(_text(as_path(path)))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
            raise RecipeError(
                source, [f"cannot be read: {reason}; `wsc-ray init` writes a recipe to start from"]
            ) from None
        except plain_yaml.YamlError as error:
            raise RecipeError(source, [str(error)]) from None
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
    """Return the recipe with absolute paths, so that it can be used from any folder, such as that of a job or of a later command."""
    tile, data, encoder = recipe.tile, recipe.data, recipe.encoder
    tile = tile.model_copy(
        update={name: _absolute(value) for name in ("slides", "folder", "masks") if (value := getattr(tile, name))}
    )
    data = data.model_copy(
        update={name: _absolute(value) for name in ("manifest", "features", "cohort") if (value := getattr(data, name))}
    )
    if encoder.weights not in ("imagenet", "random"):
        encoder = encoder.model_copy(update={"weights": _absolute(encoder.weights)})
    stream = recipe.stream
    if stream.features:
        stream = stream.model_copy(update={"features": _absolute(stream.features)})
    return recipe.model_copy(update={"tile": tile, "data": data, "encoder": encoder, "stream": stream})


def _absolute(place: str) -> str:
    """Return a local path as an absolute one, and a URI as it is."""
    return place if "://" in place and not place.startswith("file://") else str(as_path(place))


def validate_recipe(values: Mapping[str, Any], *, source: str = "recipe", problems: Iterable[str] = ()) -> Recipe:
    """Return the `Recipe` of `values`, or raise one `RecipeError` that lists every problem.

    Wrong keys are removed and the rest is checked again, so that an impossible combination is reported together with a misspelt key.

    Args:
        source: the recipe's name in the message.
        problems: problems that were found before.

    Raises:
        RecipeError: there is a problem.
    """
    problems = list(problems)
    bad: set[tuple[str, ...]] = set()
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            where = tuple(str(part) for part in item["loc"])
            # Only problems that will be listed get a sentence: finding the key that was meant takes time.
            problems.append(_explain(item, where) if len(problems) < RecipeError.LISTED else _dotted(where))
            bad.add(where[:2])
        try:
            recipe = Recipe.model_validate(_without(values, bad))
        except ValidationError:
            raise RecipeError(source, problems) from None
    problems += [f"`{keys[0]}`: {text}" for keys, text in impossible(recipe) if not bad & {_path(key) for key in keys}]
    if problems:
        raise RecipeError(source, problems)
    return recipe


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
    """Return one of pydantic's errors as a sentence: the key, the problem, and the key that was probably meant."""
    dotted = _dotted(where)
    if item["type"] != "extra_forbidden":
        if item["type"] in ("model_type", "model_attributes_type"):
            return f"`{dotted}`: {quoted(item['input'])} is not a section of settings"
        if item["type"] == "string_type" and isinstance(item["input"], int | float):  # such as the label 0
            return f"`{dotted}`: {quoted(item['input'])} is a number or a truth value; for the text write it in quotes"
        return f"`{dotted}`: {item['msg'][:1].lower()}{item['msg'][1:]}, not {quoted(item['input'])}"
    where = tuple(shortened(part, 40) for part in where)
    section = sections().get(where[0]) if len(where) > 1 else None
    siblings = section.model_fields if section is not None else Recipe.model_fields
    near = difflib.get_close_matches(where[-1], siblings, n=1, cutoff=0.6)
    if near:
        return f"`{dotted}`: unknown, did you mean `{'.'.join((*where[:-1], near[0]))}`?"
    homes = [f"`{name}.{where[-1]}`" for name, model in sections().items() if where[-1] in model.model_fields]
    if homes:
        return f"`{dotted}`: unknown, did you mean {' or '.join(homes)}?"
    return f"`{dotted}`: unknown; there are {', '.join(siblings)}"


def _dotted(where: tuple[str, ...]) -> str:
    return ".".join(shortened(part, 40) for part in where)


def _text(path: AnyPath) -> str:
    """Return a recipe's text; of a file that is too long for a recipe only the part that shows this."""
    if not isinstance(path, Path):
        size = path.size()
        if size is not None and size > 4 * plain_yaml.CHARACTERS:
            raise plain_yaml.YamlError(f"has {size:,} bytes, too many for a recipe")
        return path.read_text(encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        return file.read(plain_yaml.CHARACTERS + 1)


def _apply_override(values: dict[str, Any], override: str) -> str | None:
    """Set `a.b=c` in `values`; return the problem as a sentence, None if there is none."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    option = f"--set {shortened(override)}"
    if not equals or not all(parts):
        return f"{option}: write it as key=value, such as train.epochs=3"
    if len(parts) > 2:
        return f"{option}: no setting has more than a section and a name, such as train.epochs"
    try:
        value = plain_yaml.load(text)
    except plain_yaml.YamlError as error:
        return f"{option}: the value: {error}"
    if isinstance(value, str):
        value = _number(value)
    for part in parts[:-1]:
        inner = values.get(part)
        if inner is None:
            inner = values[part] = {}
        if not isinstance(inner, dict):
            return f"{option}: `{part}` is not a section"
        values = inner
    values[parts[-1]] = value
    return None


def _number(text: str) -> str | float:
    """Return a text such as `1e-4` as the number that a user means; YAML 1.1 reads it as text."""
    if len(text) > plain_yaml.DIGITS or not any(character.isdigit() for character in text):
        return text  # `nan` and `infinity`, which float() accepts, stay text
    try:
        return float(text)
    except ValueError:
        return text

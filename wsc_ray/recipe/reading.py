"""Reading a recipe: YAML and `a.b=c` overrides in, a `Recipe` out, or every problem at once.

Each problem names the key it stands at and what was probably meant.
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
    """The recipe with its paths as they hold in any folder: a job's, and the one where a later command is typed."""
    data, encoder = recipe.data, recipe.encoder
    data = data.model_copy(
        update={name: _absolute(value) for name in ("manifest", "features", "cohort") if (value := getattr(data, name))}
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
        for item in error.errors(include_url=False, include_context=False):
            where = tuple(str(part) for part in item["loc"])
            # A sentence looks for what was meant, which takes a while where there are thousands of them.
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
    """One pydantic error as a sentence: where it stands, what is wrong, what was probably meant."""
    dotted = _dotted(where)
    if item["type"] != "extra_forbidden":
        if item["type"] in ("model_type", "model_attributes_type"):
            return f"`{dotted}`: {quoted(item['input'])} is not a section of settings"
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
    """A recipe's text; of a longer file as much as shows that it is no recipe."""
    if not isinstance(path, Path):
        size = path.size()
        if size is not None and size > 4 * plain_yaml.CHARACTERS:
            raise plain_yaml.YamlError(f"has {size:,} bytes, which no recipe has")
        return path.read_text(encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        return file.read(plain_yaml.CHARACTERS + 1)


def _apply_override(values: dict[str, Any], override: str) -> str | None:
    """Set `a.b=c` in `values`; a sentence where it cannot be."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    said = f"--set {shortened(override)}"
    if not equals or not all(parts):
        return f"{said}: write it as key=value, such as train.epochs=3"
    if len(parts) > 2:
        return f"{said}: no setting has more than a section and a name, such as train.epochs"
    try:
        value = plain_yaml.load(text)
    except plain_yaml.YamlError as error:
        return f"{said}: the value: {error}"
    if isinstance(value, str):
        value = _number(value)
    for part in parts[:-1]:
        inner = values.get(part)
        if inner is None:
            inner = values[part] = {}
        if not isinstance(inner, dict):
            return f"{said}: `{part}` is not a section"
        values = inner
    values[parts[-1]] = value
    return None


def _number(text: str) -> str | float:
    """YAML 1.1 reads `1e-4` as text; a user means the number."""
    if len(text) > plain_yaml.DIGITS or not any(character.isdigit() for character in text):
        return text  # float() would take `nan` and `infinity`
    try:
        return float(text)
    except ValueError:
        return text

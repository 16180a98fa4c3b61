"""`wsc-ray init`: writing a commented recipe with every setting, generated from the definition of the recipe."""

from __future__ import annotations

from pathlib import Path

import yaml

from wsc_ray.errors import RunFolderError
from wsc_ray.files import atomic
from wsc_ray.places import local_path
from wsc_ray.recipe.sections import Recipe, Section, limits, sections

_HEAD = """\
# A recipe for wsc-ray. Every value here is the default: keep what you change, delete the rest. The defaults of training are the
# paper's (arXiv 2602.09477), except that of loss.similarity_warmup. On the command line, --set train.epochs=3 overrides a value.
"""


def write_template(out: str | Path) -> Path:
    """Write a commented recipe and return its path.

    Raises:
        RunFolderError: the file exists already.
    """
    path = local_path(out)
    if path.exists():
        raise RunFolderError(f"{path} exists; give another --out, or delete it")
    with atomic(path) as temporary:
        temporary.write_text(recipe_template())
    return path


def recipe_template() -> str:
    """Return the commented YAML of the default recipe."""
    lines = [_HEAD]
    parts = sections()
    lines += _settings(Recipe, [name for name in Recipe.model_fields if name not in parts], Recipe(), "")
    for name, section in parts.items():
        lines.append(f"\n{name}:")
        lines += _settings(section, list(section.model_fields), getattr(Recipe(), name), "  ")
    return "\n".join(lines) + "\n"


def _settings(section: type[Section], names: list[str], values: Section, indent: str) -> list[str]:
    dumped = values.model_dump(mode="json")
    pairs = [(f"{indent}{name}: {_inline(dumped[name])}", _comment(section, name)) for name in names]
    width = min(max(len(text) for text, _ in pairs), 44)
    return [f"{text:<{width}}  # {comment}" for text, comment in pairs]


def _comment(section: type[Section], name: str) -> str:
    """Return a setting's description with its limits."""
    described, bounds = section.model_fields[name].description or "", limits(section, name)
    return f"{described} ({bounds})" if bounds else described


def _inline(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")

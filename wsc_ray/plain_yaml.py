"""Reading YAML settings safely: duplicate keys are errors, and a short text cannot use much memory or time.

PyYAML reads YAML 1.1. This module refuses, or reads differently:

* a key that occurs twice in a mapping: PyYAML would silently drop the first one;
* aliases (`*name`) that expand to too many values: ten lines can stand for 10^10 values ("billion laughs"), and an alias inside
  its own anchor for infinitely many;
* deep nesting, which would end in a RecursionError;
* tags (`!!int`, `!!python/...`): no setting needs them, and PyYAML raises errors of any type for wrong ones;
* dates: `2024-01-01` stays text;
* numbers of base 8 (`010` is 8) and base 60 (`1:30` is 90), which nobody means;
* numbers with far more digits than a float can hold.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

CHARACTERS = 200_000
DEPTH = 40
VALUES = 5_000  # labels of both kinds, 1,000 each, and every other setting; a longer text takes seconds to build
DIGITS = 100
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_.]+)+)")  # base 8 (010), and base 60 (1:30)


class YamlError(ValueError):
    """The text is refused; `str(error)` is the rest of a sentence, such as `line 3: ...`, of bounded length."""


def load(text: str) -> Any:
    """Return the single document of a text, made of mappings, lists, text, numbers, bools and None.

    Raises:
        YamlError: the text is not YAML, has several documents, or has a problem that the module's docstring lists.
    """
    documents = _documents(text, _SettingsLoader)
    if len(documents) > 1:
        raise YamlError("holds several documents (`---`), and one is wanted")
    return documents[0] if documents else None


def load_all(text: str) -> list[Any]:
    """Return every document of a text; see `load`.

    Numbers of base 8 and 60 are read, since file modes are written in base 8.
    """
    return _documents(text, _Loader)


def _documents(text: str, loader: type[_Loader]) -> list[Any]:
    if len(text) > CHARACTERS:
        raise YamlError(f"is longer than {CHARACTERS:,} characters, which no settings are")
    try:
        _measure(text)
        return list(yaml.load_all(text, loader))
    except YamlError:
        raise
    except yaml.YAMLError as error:
        raise YamlError("not valid YAML: " + _sentence(error)) from None
    except (ValueError, OverflowError, RecursionError) as error:  # from a scalar that looks like a number, such as 0b_
        raise YamlError(f"not valid YAML: {shortened(str(error))}") from None


def shortened(text: str, length: int = 80) -> str:
    """Return a text for a message, cut if it is long."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text):,} characters)"


def quoted(value: Any, length: int = 80) -> str:
    """Return the `repr` of a value for a message, cut if it is long; a number of thousands of digits has no `repr`."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**DIGITS:
        return f"a number of more than {DIGITS} digits"
    if isinstance(value, dict | list | tuple | set):
        kind = "mapping" if isinstance(value, dict) else "list"
        if len(value) > 8 or any(isinstance(item, dict | list | tuple | set) for item in value):
            return f"a {kind} of {len(value):,}"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{quoted(k, 20)}: {quoted(v, 20)}" for k, v in value.items()) + "}"
        return "[" + ", ".join(quoted(item, 20) for item in value) + "]"
    if isinstance(value, str) and len(value) > length:
        return f"{value[:length]!r}... ({len(value):,} characters)"
    return shortened(repr(value), length + 2)


def _measure(text: str) -> None:
    """Check the parser's events, which hold one token at a time, before values are built from them.

    Raises:
        YamlError: the nesting is too deep, there are too many values with aliases expanded, or there is a tag.
    """
    sizes: dict[str, int] = {}  # number of values below each anchor, with aliases expanded
    # For each enclosing collection its anchor and the number of values so far.
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None  # the parser sets it for every event
        line = event.start_mark.line + 1
        tag = event.tag if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) else None
        if tag is not None and tag != "!":
            raise YamlError(f"line {line}: {shortened(tag)} is a tag; write the value without one")
        if isinstance(event, yaml.AliasEvent):
            assert event.anchor is not None  # every alias names an anchor
            if any(anchor == event.anchor for anchor, _ in open_):
                raise YamlError(
                    f"line {line}: *{shortened(event.anchor)} is inside the value that it stands for, and has no end"
                )
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor:
                sizes[event.anchor] = size
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(open_) > DEPTH:
                raise YamlError(f"line {line}: is nested more than {DEPTH} deep, which no settings are")
            open_.append((event.anchor, 1))
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            if anchor:
                sizes[anchor] = size
        else:
            continue
        anchor, before = open_.pop()
        open_.append((anchor, before + size))
        if before + size > VALUES:
            raise YamlError(f"line {line}: comes to more than {VALUES:,} values, which no settings do")


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, but keys must differ, dates are text, and numbers have a bounded length."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # PyYAML's types declare it for instances
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            merges = key_node.tag == "tag:yaml.org,2002:merge"
            key = key_node.value if merges else self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise YamlError(f"line {line}: {quoted(key)} occurs twice, first in line {seen[key]}; keep one")
            seen[key] = line
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_number(self, node: yaml.ScalarNode) -> int | float:
        if len(node.value) > DIGITS:
            line = node.start_mark.line + 1
            raise YamlError(f"line {line}: is a number of {len(node.value):,} characters, which no setting takes")
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


class _SettingsLoader(_Loader):
    """The loader of settings, where `010` and `1:30` are errors."""

    def construct_yaml_number(self, node: yaml.ScalarNode) -> int | float:
        value = super().construct_yaml_number(node)
        if _OTHER_BASE.fullmatch(node.value):
            line = node.start_mark.line + 1
            raise YamlError(f"line {line}: {node.value} is {value} in YAML; write the number that is meant")
        return value


for _tag in ("int", "float"):
    for _loader in (_Loader, _SettingsLoader):
        _loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _loader.construct_yaml_number)


def _sentence(error: yaml.YAMLError) -> str:
    """Return PyYAML's message in one line of bounded length; its own quotes the surrounding text."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if mark is None or problem is None:
        return shortened(" ".join(str(error).split()), 200)
    return f"line {mark.line + 1}, column {mark.column + 1}: {shortened(' '.join(problem.split()), 200)}"

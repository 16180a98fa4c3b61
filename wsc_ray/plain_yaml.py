"""Reading YAML settings safely: a key may not stand twice in a mapping, and no text may cost more than its length suggests.

What the YAML 1.1 of PyYAML would take and we do not:

* a key that is there twice in one mapping: the first would be dropped in silence;
* aliases (`*name`) that come to more values than anybody writes: ten lines can stand for 10^10 of them
  ("billion laughs"), and to an alias inside its own anchor, which has no end;
* deep nesting, which ends in a RecursionError;
* tags (`!!int`, `!!python/...`): nothing here needs them, and PyYAML's constructors raise anything on what is wrong in them;
* dates: `2024-01-01` stays text;
* numbers of base 8 (`010` is 8) and 60 (`1:30` is 90), which nobody means;
* numbers of more digits than a float can tell apart many times over.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

CHARACTERS = 200_000
DEPTH = 40
VALUES = 20_000
DIGITS = 100
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_.]+)+)")  # octal (010), and of base 60 (1:30)


class YamlError(ValueError):
    """A text that is refused; `str(error)` is the rest of a sentence, such as `line 3: ...`, of bounded length."""


def load(text: str) -> Any:
    """The one document of a text: mappings, lists, text, numbers, bools, None.

    Raises:
        YamlError: it is not YAML, or of what the module lists.
    """
    documents = _documents(text, _SettingsLoader)
    if len(documents) > 1:
        raise YamlError("holds several documents (`---`), and one is wanted")
    return documents[0] if documents else None


def load_all(text: str) -> list[Any]:
    """Every document of a text; see `load`. Numbers of base 8 and 60 are read: file modes are written so."""
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
    except (ValueError, OverflowError, RecursionError) as error:  # of a scalar that looks like a number, such as 0b_
        raise YamlError(f"not valid YAML: {shortened(str(error))}") from None


def shortened(text: str, length: int = 80) -> str:
    """A text as a message may quote it: its beginning where it is long."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text):,} characters)"


def quoted(value: Any, length: int = 80) -> str:
    """`repr` of a value as a message may quote it, whatever its size; a number of thousands of digits has no `repr`."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**DIGITS:
        return f"a number of more than {DIGITS} digits"
    if isinstance(value, dict | list | tuple | set):
        kind = "mapping" if isinstance(value, dict) else "list"
        if len(value) > 8 or any(isinstance(each, dict | list | tuple | set) for each in value):
            return f"a {kind} of {len(value):,}"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{quoted(k, 20)}: {quoted(v, 20)}" for k, v in value.items()) + "}"
        return "[" + ", ".join(quoted(each, 20) for each in value) + "]"
    if isinstance(value, str) and len(value) > length:
        return f"{value[:length]!r}... ({len(value):,} characters)"
    return shortened(repr(value), length + 2)


def _measure(text: str) -> None:
    """Walk through the parser's events, which hold one token at a time, before anything is built of them.

    Raises:
        YamlError: too deep, too many values once aliases are written out, or a tag.
    """
    sizes: dict[str, int] = {}  # values below each anchor, written out
    open_: list[tuple[str | None, int]] = [(None, 0)]  # anchor and values so far of each collection around
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None  # the parser gives every event one
        line = event.start_mark.line + 1
        tag = event.tag if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) else None
        if tag is not None and tag != "!":
            raise YamlError(f"line {line}: {shortened(tag)} is a tag; write the value without one")
        if isinstance(event, yaml.AliasEvent):
            assert event.anchor is not None  # what it stands for
            if any(anchor == event.anchor for anchor, _ in open_):
                raise YamlError(f"line {line}: *{shortened(event.anchor)} stands inside what it names, and has no end")
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
    """PyYAML's, with keys that must differ, dates as text and numbers of bounded length."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # PyYAML's types take it for an instance's
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
                raise YamlError(f"line {line}: {quoted(key)} is there twice, first in line {seen[key]}; keep one")
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
    """Of settings, where `010` and `1:30` are mistakes."""

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
    """What PyYAML says, in one line and of bounded length: it quotes the text around the place."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if mark is None or problem is None:
        return shortened(" ".join(str(error).split()), 200)
    return f"line {mark.line + 1}, column {mark.column + 1}: {shortened(' '.join(problem.split()), 200)}"

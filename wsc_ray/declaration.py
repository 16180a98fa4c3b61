"""What a command says of itself: its arguments, which of them are places, and how its result is shown.

A command is a function with keyword-only parameters, each `Annotated[type, Option(...)]`. From that one declaration come the
command line's options (`cli`), what travels to a cluster (`submit`), and the table of commands in the docs.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Kind = Literal["value", "path", "paths", "file", "pairs", "texts", "numbers"]


@dataclass(frozen=True)
class Option:
    """One argument of a command.

    Attributes:
        help: a sentence that stands alone.
        metavar: what stands for the value in the help, such as `DIR`.
        name: on the command line, where it is not the parameter's.
        argument: whether it is given by its position.
        kind: `path`: a folder, a file or a URI, made absolute before it travels to a cluster. `paths`: any
            number of them, by position. `file`: a local file whose text travels, or a folder that every node sees.
            `pairs`: NAME=VALUE, repeatable, a dictionary. `texts`: repeatable. `numbers`: whole numbers with commas between.
        choices: the values that may be given.
        least, most: the smallest and the largest number that may be given.
        before: of a `path`: what may stand before it, such as `local-dir:`.
        instead: of a `path`: how a value begins that is none, such as `timm:`.
        here_only: why it has no place in a call for a cluster, as the rest of a sentence that begins with the option.
        beside: of a folder, the `file` argument whose own folder it is where nothing is given.
    """

    help: str = ""
    metavar: str | None = None
    name: str | None = None
    argument: bool = False
    kind: Kind = "value"
    choices: tuple[str, ...] | None = None
    least: int | None = None
    most: int = 2**31 - 1
    beside: str | None = None
    before: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    here_only: str | None = None


@dataclass(frozen=True)
class Parameter:
    """An `Option` with what the function's signature says of it; `type` is str, int, float or bool."""

    name: str
    option: Option
    type: type
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def flag(self) -> str:
        """Its name on the command line, without the dashes."""
        return self.option.name or self.name.replace("_", "-")


@dataclass(frozen=True)
class Declaration:
    """A command.

    Attributes:
        name: on the command line, such as `manifest import`.
        function: does the work here and returns a summary.
        parameters: its arguments, in order.
        help: what it does, for the command line; its first line stands in lists.
        reads, writes: in the docs' table.
        sent: whether it can run on a cluster.
        out_in_run: where results go inside a run folder, where they have a place there.
        default_out: where results go when nothing is given, from the other arguments and the cluster's storage (None here).
        works_on: the argument that says what a job is about, where it need not write anything.
        trains: whether training workers run in it, for the preflight.
        resources: what the job reserves on a cluster, in words.
        describe: a summary, or the plan of a dry run, as text.
        exit_status: of the command line, from what the function returned.
        json: whether the command line takes `--json`.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    help: str
    reads: str = ""
    writes: str = ""
    sent: bool = False
    out_in_run: str | None = None
    default_out: Callable[[Mapping[str, Any], str | None], str] | None = None
    works_on: str | None = None
    trains: bool = False
    resources: Callable[[Any], dict[str, str]] = field(default=lambda recipe: {})
    describe: Callable[[Any, bool], str] = field(default=lambda summary, dry_run: str(summary))
    exit_status: Callable[[Any], int] = field(default=lambda result: 0)
    json: bool = False

    @property
    def function_name(self) -> str:
        """The name of the function and of its file, `manifest_import`."""
        return self.name.replace(" ", "_").replace("-", "_")

    def takes(self, name: str) -> bool:
        """Whether it has an argument of that name."""
        return any(parameter.name == name for parameter in self.parameters)

    def usage(self) -> str:
        """The command as one types it, with its positional arguments and what it cannot do without."""
        words = [self.name]
        for parameter in self.parameters:
            value = parameter.option.metavar or parameter.name.upper()
            if parameter.option.argument:
                words.append(value if parameter.required else f"[{value}]")
            elif parameter.required:
                words.append(f"--{parameter.flag} {value}")
        return " ".join(words)


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The arguments that a function declares.

    Raises:
        TypeError: a parameter that is not keyword-only or has no `Option`.
    """
    hints = get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name)
        option = next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Option)), None)
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or option is None:
            raise TypeError(f"{function.__name__}: `{name}` must be keyword-only and Annotated with an Option")
        kind, choices = _plain(hint)
        if choices and option.choices is None:
            option = Option(**{**vars(option), "choices": choices})
        found.append(Parameter(name, option, kind, parameter.default))
    return tuple(found)


def help_of(function: Callable[..., Any]) -> str:
    """The part of a docstring that is for the command line: what comes before `Returns:` and `Raises:`."""
    text = inspect.cleandoc(function.__doc__ or "")
    return re.split(r"^(?:Args|Returns|Raises):", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def commands_table(declarations: Sequence[Declaration]) -> str:
    """The docs' table, in Markdown."""
    rows = ["| command | does | reads | writes |", "| --- | --- | --- | --- |"]
    for each in declarations:
        does = each.help.splitlines()[0].rstrip(".")
        rows.append(f"| `{each.usage()}` | {does[:1].lower()}{does[1:]} | {each.reads} | {each.writes} |")
    return "\n".join(rows)


def _plain(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """The one of str, int, float and bool that a value is read as, and the choices of a `Literal`."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        for each in get_args(hint):
            if each is not type(None) and (found := _plain(each))[0] is not str:
                return found
            if get_origin(each) is Literal:
                return _plain(each)
        return str, None
    return (hint if hint in (int, float, bool) else str), None

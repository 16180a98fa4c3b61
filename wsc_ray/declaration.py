"""The declaration of a command: its arguments, which of them are paths, and how its result is printed.

A command is a function with keyword-only parameters, each `Annotated[type, Option(...)]`. Parameters that many commands share may
stand in a TypedDict (`**where: Unpack[Where]`, PEP 692). From that one declaration come the command line's options (`cli`),
the call that is sent to a cluster (`submit`), and the table of commands in the docs.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Union, Unpack, get_args, get_origin, get_type_hints

Kind = Literal["value", "path", "paths", "file", "pairs", "texts", "numbers"]


@dataclass(frozen=True)
class Option:
    """How one argument of a command is written on the command line and sent to a cluster.

    Attributes:
        help: its help, a sentence that can be read alone.
        metavar: the placeholder for the value in the help, such as `DIR`.
        name: the option's name without the dashes; by default the parameter's name.
        argument: whether it is a positional argument instead of an option.
        kind: `value`: one value of the parameter's type. `path`: a folder, a file or a URI, made absolute before the call is
            sent to a cluster. `paths`: any number of paths, positional. `file`: a local file whose text is sent with the call, or a
            folder that every node can read.
            `pairs`: NAME=VALUE, repeatable, a dictionary. `texts`: one text, repeatable. `numbers`: numbers separated by commas, whole
            ones unless the parameter's type is float.
        choices: the allowed values.
        least, most: the smallest and the largest allowed number.
        before: for a `path`: prefixes that may precede the path, such as `local-dir:`.
        instead: for a `path`: prefixes of values that are no path, such as `timm:`.
        here_only: why a call for a cluster cannot have this option; the rest of a sentence that begins with the option.
        read: for a `path`: what the command reads there in place of the manifest or features of its recipe, so that the preflight checks
            that every node can.
        beside: for a folder: the name of the `file` argument whose folder is the default.
        default: the default of a parameter in a TypedDict, where Python has no syntax for one.
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
    read: Literal["manifest", "features"] | None = None
    default: Any = None


@dataclass(frozen=True)
class Parameter:
    """An `Option` with its name, type and default from the function's signature; `type` is str, int, float or bool."""

    name: str
    option: Option
    type: type
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def flag(self) -> str:
        """The option's name on the command line, without the dashes."""
        return self.option.name or self.name.replace("_", "-")


@dataclass(frozen=True)
class Declaration:
    """A command.

    Attributes:
        name: the name on the command line, such as `manifest import`.
        function: the Python function; it runs the command here or on a cluster, and returns a summary.
        parameters: the arguments, in order.
        help: what the command does, for the command line; lists of commands show the first line.
        reads, writes: the command's inputs and outputs, for the table in the docs.
        sent: whether the command can run on a cluster.
        out_in_run: the name of the output folder inside a run folder; None if the command has none there.
        default_out: the output folder when no `--out` is given, from the other arguments and the cluster's storage (None here).
        works_on: the argument that identifies a job, for a command that need not write anything.
        trains: whether the command starts training workers, for the preflight.
        reads_manifest: whether the command reads the manifest or the features that its recipe names, unless an argument names others (see
            `Option.read`); only then the preflight does.
        cuts_first: whether the command cuts the recipe's slides first if the manifest is missing.
        from_recipe: places that the recipe gives if the arguments do not, from the recipe, so that they are sent with a call.
        resources: what the job reserves on a cluster, in words, from the recipe.
        describe: formats a summary, or the plan of a dry run, as text.
        exit_status: the exit status of the command line, from the function's result.
        json: whether the command line has `--json`.
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
    reads_manifest: bool = True
    cuts_first: bool = False
    from_recipe: Callable[[Any], Mapping[str, Any]] = field(default=lambda recipe: {})
    resources: Callable[[Any], dict[str, str]] = field(default=lambda recipe: {})
    describe: Callable[[Any, bool], str] = field(default=lambda summary, dry_run: str(summary))
    exit_status: Callable[[Any], int] = field(default=lambda result: 0)
    json: bool = False

    @property
    def function_name(self) -> str:
        """The name of the function and of its file, `manifest_import`."""
        return self.name.replace(" ", "_").replace("-", "_")

    def takes(self, name: str) -> bool:
        """Return whether the command has an argument of that name."""
        return any(parameter.name == name for parameter in self.parameters)

    def read_by(self, arguments: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return what the arguments name to be read, `manifest` or `features`, and its path or URI; None if they name nothing."""
        for parameter in self.parameters:
            if parameter.option.read and arguments.get(parameter.name) is not None:
                return parameter.option.read, str(arguments[parameter.name])
        return None

    def usage(self) -> str:
        """Return the command as a user types it, with its positional arguments and required options."""
        words = [self.name]
        for parameter in self.parameters:
            value = parameter.option.metavar or parameter.name.upper()
            if parameter.option.argument:
                words.append(value if parameter.required else f"[{value}]")
            elif parameter.required:
                words.append(f"--{parameter.flag} {value}")
        return " ".join(words)


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters that a function declares, those of a `**where: Unpack[Where]` one by one.

    Raises:
        TypeError: a parameter is not keyword-only or has no `Option`.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and get_origin(hint) is Unpack:
            shared = get_type_hints(get_args(hint)[0], include_extras=True)
            for shared_name, shared_hint in shared.items():
                option = _option(function, shared_name, shared_hint)
                parameters.append(_parameter(shared_name, shared_hint, option, option.default))
            continue
        option = _option(function, name, hint if parameter.kind is inspect.Parameter.KEYWORD_ONLY else None)
        parameters.append(_parameter(name, hint, option, parameter.default))
    return tuple(parameters)


def signature_of(parameters: Sequence[Parameter]) -> inspect.Signature:
    """Return the signature of a function with these keyword-only parameters."""
    return inspect.Signature(
        [
            inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=parameter.default)
            for parameter in parameters
        ]
    )


def help_of(function: Callable[..., Any]) -> str:
    """Return the part of a docstring that the command line shows: all before `Args:`, `Returns:` and `Raises:`."""
    text = inspect.cleandoc(function.__doc__ or "")
    return re.split(r"^(?:Args|Returns|Raises):", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def commands_table(declarations: Sequence[Declaration]) -> str:
    """Return the docs' table of commands, in Markdown."""
    rows = ["| command | does | reads | writes |", "| --- | --- | --- | --- |"]
    for declaration in declarations:
        does = declaration.help.splitlines()[0].rstrip(".")
        rows.append(
            f"| `{declaration.usage()}` | {does[:1].lower()}{does[1:]} | {declaration.reads} | {declaration.writes} |"
        )
    return "\n".join(rows)


def _option(function: Callable[..., Any], name: str, hint: Any) -> Option:
    for option in getattr(hint, "__metadata__", ()):
        if isinstance(option, Option):
            return option
    raise TypeError(f"{function.__name__}: `{name}` must be keyword-only and Annotated with an Option")


def _parameter(name: str, hint: Any, option: Option, default: Any) -> Parameter:
    value_type, choices = _value_type(hint)
    if choices and option.choices is None:
        option = replace(option, choices=choices)
    return Parameter(name, option, value_type, default)


def _value_type(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """Return the type as which the command line reads a value (str, int, float or bool), and the choices of a `Literal`."""
    if get_origin(hint) is Annotated:
        return _value_type(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            if member is not type(None) and (read_as := _value_type(member))[0] is not str:
                return read_as
            if get_origin(member) is Literal:
                return _value_type(member)
        return str, None
    return (hint if hint in (int, float, bool) else str), None

"""Declared parameters as click's options, and the values that click read as the function's arguments."""

from __future__ import annotations

from typing import Any

import click

from wsc_ray.declaration import Parameter
from wsc_ray.errors import UserError
from wsc_ray.plain_yaml import shortened


def as_click(parameter: Parameter) -> click.Parameter:
    """Return the click option, or positional argument, of a declared parameter."""
    option, default = parameter.option, None if parameter.required else parameter.default
    if option.argument:
        many = -1 if option.kind == "paths" else 1
        metavar = option.metavar if parameter.required else f"[{option.metavar}]"
        return click.Argument([parameter.name], required=parameter.required, metavar=metavar, nargs=many)
    names = [f"--{parameter.flag}", parameter.name]
    if parameter.type is bool:
        return click.Option(names, is_flag=True, default=default, help=option.help)
    settings: dict[str, Any] = {"help": option.help, "metavar": option.metavar, "required": parameter.required}
    if option.kind in ("pairs", "texts"):
        return click.Option(names, multiple=True, **settings)
    if option.kind == "numbers":
        default = [default] if isinstance(default, int | float) else default
        text = None if default is None else ",".join(map(str, default))
        return click.Option(names, default=text, show_default=text is not None, **settings)
    return click.Option(names, type=_type(parameter), default=default, show_default=default is not None, **settings)


def as_value(parameter: Parameter, value: Any) -> Any:
    """Return the function's argument for a value that click has read.

    Raises:
        UserError: the value does not have the form that the option needs.
    """
    kind, flag = parameter.option.kind, parameter.flag
    if kind in ("path", "file") and value == "":
        raise UserError(f"--{flag}: an empty path; leave the option out, or give the name of a file or folder")
    if kind == "paths" and "" in value:
        raise UserError(f"{parameter.option.metavar}: an empty path; give the name of a file or folder")
    if kind == "pairs":
        return dict(_pair(flag, text) for text in value)
    if kind == "numbers" and value is not None:
        number, whole = (float, "") if parameter.type is float else (int, "whole ")
        try:
            numbers = [number(word) for word in str(value).split(",")]
        except ValueError:
            raise UserError(f"--{flag} {shortened(value)}: write {whole}numbers with commas between them") from None
        if not all(each <= parameter.option.most for each in numbers):
            raise UserError(f"--{flag} {shortened(value)}: a number is above {parameter.option.most}")
        return numbers
    if isinstance(value, float) and not abs(value) <= parameter.option.most:
        raise UserError(f"--{flag} {value:g}: give a number, {parameter.option.most} at most")
    return value


def _pair(flag: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--{flag} {shortened(text)}: write it as NAME=VALUE")
    return key, value


def _type(parameter: Parameter) -> Any:
    option = parameter.option
    if option.choices:
        return click.Choice(option.choices)
    if parameter.type is int:
        return click.IntRange(option.least, option.most)
    return parameter.type

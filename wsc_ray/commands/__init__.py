"""The commands of the command line as Python functions, for notebooks and scripts; one file per command.

from wsc_ray import commands

commands.pretrain(recipe="wsc-ray.yaml", out="run")
commands.embed(run="run")
commands.pretrain(recipe="wsc-ray.yaml", out="/shared/run", cluster="cluster/aws.yaml")

Importing these files is fast: a command imports what it needs when it runs, so that `wsc-ray --help` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from wsc_ray.command import COMMANDS
from wsc_ray.declaration import Declaration
from wsc_ray.plugins import load_plugins


def all_commands() -> list[Declaration]:
    """Return every command, including those of plug-ins.

    Raises:
        PluginError: a plug-in cannot be imported.
    """
    load_plugins()
    return list(COMMANDS.values())


def find_command(name: str) -> Declaration:
    """Return the command with this name on the command line.

    Raises:
        KeyError: no command has this name.
    """
    return {declaration.name: declaration for declaration in all_commands()}[name]


def __getattr__(name: str) -> Any:
    """Return the function of a plug-in's command."""
    functions = {declaration.function_name: declaration.function for declaration in all_commands()}
    if name not in functions:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functions[name]


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
# Importing a file sets `commands.embed` to the module; these lines set it to the function.
globals().update({declaration.function_name: declaration.function for declaration in COMMANDS.values()})

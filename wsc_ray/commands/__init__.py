"""Every command of the command line as a function, for notebooks and scripts: a file a command.

from wsc_ray import commands

commands.pretrain(recipe="wsc-ray.yaml", out="run")
commands.embed(run="run")
commands.pretrain(recipe="wsc-ray.yaml", out="/shared/run", cluster="cluster/aws.yaml")

The files are light: what a command needs is imported when it runs, so that `wsc-ray --help` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from wsc_ray.command import COMMANDS
from wsc_ray.declaration import Declaration
from wsc_ray.plugins import load_plugins


def all_commands() -> list[Declaration]:
    """Every command, those of plug-ins too.

    Raises:
        PluginError: a plug-in cannot be imported.
    """
    load_plugins()
    return list(COMMANDS.values())


def find_command(name: str) -> Declaration:
    """The command that is called so on the command line.

    Raises:
        KeyError: there is none.
    """
    return {declaration.name: declaration for declaration in all_commands()}[name]


def __getattr__(name: str) -> Any:
    """A plug-in's command."""
    found = {declaration.function_name: declaration.function for declaration in all_commands()}
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found[name]


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
# Importing a file has set its name to the module; `commands.embed` is the function.
globals().update({declaration.function_name: declaration.function for declaration in COMMANDS.values()})

"""Code from outside the package: a lab's own heads, methods, slide readers and commands.

A plug-in is a Python module whose import registers something. It is named by an entry point of the group
`wsc_ray.plugins` of an installed package, or by the environment variable `WSC_RAY_PLUGINS`: names of modules or paths of
`.py` files, separated by the system's path separator (`:` on Linux).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

from wsc_ray.errors import PluginError

GROUP = "wsc_ray.plugins"
VARIABLE = "WSC_RAY_PLUGINS"


@functools.cache
def load_plugins() -> None:
    """Import every plug-in, once in a process.

    Raises:
        PluginError: one of them cannot be imported.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            raise PluginError(f"the plug-in {point.name} of {point.value} cannot be imported: {error!r}") from error
    for name in named_plugins():
        try:
            _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
        except Exception as error:
            raise PluginError(f"{VARIABLE} names {name}, which cannot be imported: {error!r}") from error


def named_plugins() -> list[str]:
    """The modules and files that `WSC_RAY_PLUGINS` names."""
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def _import_file(path: Path) -> None:
    path = path.expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    if path.stem in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that what it defines can be pickled by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise

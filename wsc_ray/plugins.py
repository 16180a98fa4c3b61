"""Plug-ins: heads, methods, slide readers and commands from outside the package.

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
from wsc_ray.places import local_path

GROUP = "wsc_ray.plugins"
VARIABLE = "WSC_RAY_PLUGINS"


@functools.cache
def load_plugins() -> None:
    """Import every plug-in; only the first call in a process does anything.

    Raises:
        PluginError: a plug-in cannot be imported.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            raise PluginError(f"the plug-in {point.name} of {point.value} cannot be imported: {error!r}") from error
    names = named_plugins()
    if names:
        # Absolute paths for child processes such as Ray's workers, whose current folders may differ.
        os.environ[VARIABLE] = os.pathsep.join(names)
    for name in names:
        try:
            _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
        except Exception as error:
            raise PluginError(f"{VARIABLE} names {name}, which cannot be imported: {error!r}") from error


def named_plugins() -> list[str]:
    """Return the modules and files that `WSC_RAY_PLUGINS` names, files as absolute paths."""
    names = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return [str(local_path(name)) if name.endswith(".py") else name for name in names]


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    imported = sys.modules.get(path.stem)
    if imported is not None:
        if Path(getattr(imported, "__file__", None) or "").absolute() != path:
            raise ImportError(f"a module {path.stem} is imported already; give the file another name")
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that Ray can pickle its functions by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise

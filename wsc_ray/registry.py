"""Registries: what will grow is a folder of small files, each of which registers one thing under its name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from wsc_ray.plugins import load_plugins

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by their names: those of the modules of a package, and those of plug-ins.

    The package's modules and the plug-ins are imported when the registry is first read, in each process, and not before: a
    worker of Ray has them too, and a recipe, whose names they are, is read without torch. The room that reads a registry
    checks a recipe's names when a run is planned.

    Args:
        kind: what they are, for error sentences, such as `MIL head`.
        package: the package whose modules register them, such as `wsc_ray.mil.heads`.
    """

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._things: dict[str, T] = {}
        self._loaded = self._loading = False
        self._lock = threading.RLock()  # threads that read pixels come here first at the same time

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates under `name`.

        Raises:
            ValueError: the name is taken by something else.
        """

        def add(thing: T) -> T:
            if name in self._things and self._things[name] is not thing:
                raise ValueError(f"two things are registered as {self.kind} {name!r}")
            self._things[name] = thing
            return thing

        return add

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load()
        return sorted(self._things)

    def missing(self, name: str) -> str:
        """Return a sentence about a name that nothing has: the nearest name, and all that there are."""
        near = difflib.get_close_matches(name, self.names(), n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        return f"there is no {self.kind} {name}{meant}; there are {', '.join(self.names())}"

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._things

    def __getitem__(self, name: str) -> T:
        """Return what is registered under a name.

        Raises:
            KeyError: nothing is.
        """
        self._load()
        return self._things[name]

    def _load(self) -> None:
        if self._loaded:
            return
        with self._lock:
            if self._loaded or self._loading:  # a plug-in may read the registry while it is loaded itself
                return
            self._loading = True
            try:
                package = importlib.import_module(self.package)
                for module in pkgutil.iter_modules(package.__path__):
                    importlib.import_module(f"{self.package}.{module.name}")
                load_plugins()
                self._loaded = True  # not where one cannot be imported: the next reader hears of it too
            finally:
                self._loading = False

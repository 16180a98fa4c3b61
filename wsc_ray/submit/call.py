"""A call: a command that is sent to a cluster, with its arguments, the recipe and the files that it needs.

A job runs in a folder of its own, so that every path is made absolute on the sending machine. Everybody who can list the
cluster's jobs can read the call, and the run folder keeps it, so that it must hold no password.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsc_ray.declaration import Declaration, Parameter
from wsc_ray.errors import ClusterError, ManifestError, RecipeError
from wsc_ray.places import local_path
from wsc_ray.plugins import VARIABLE as PLUGINS
from wsc_ray.plugins import named_plugins
from wsc_ray.recipe.reading import absolute_paths, load_recipe
from wsc_ray.recipe.sections import DEFAULT_RECIPE, Recipe
from wsc_ray.storage import StoragePath, as_path
from wsc_ray.uris import has_secrets, shown

CALL = "call.json"
RECIPE = "recipe.yaml"
STORE = "MLFLOW_TRACKING_URI"  # the only variable of the user's environment that is sent, beside the plug-ins
# Arguments of the sending machine: where a call runs and what that may cost. They are no part of the call.
LOCAL = ("address", "cluster", "down", "dry_run", "yes", "autostop", "keep_failed", "max_hours", "max_cost")


@dataclass(frozen=True)
class Call:
    """A job to submit: `python jobs/<command>.py`, with `call.json`, the recipe and the sent files in its folder.

    Attributes:
        command: the command's name on the command line.
        out: where the command writes its results; no two jobs work on one place at the same time.
        arguments: the function's arguments, for JSON; a recipe and sent files are given by their names in the job's folder.
        recipe: the recipe; None if the run folder's own is used, or the command takes none.
        files: file name in the job's folder -> text.
        environment: environment variables of the job.
        nodes: number of nodes that must be up before the preflight begins.
        cluster: the cluster file as YAML, without secrets, to keep beside the results; None if there is none.
        trains, resources: as in `Declaration`, for the preflight and the plan of a dry run.
        checks_manifest: whether the preflight checks a manifest or features, those of an argument or of the recipe.
    """

    command: str
    out: str
    arguments: Mapping[str, Any]
    recipe: Recipe | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    cluster: str | None = None
    trains: bool = False
    resources: Mapping[str, str] = field(default_factory=dict)
    checks_manifest: bool = False

    @property
    def slug(self) -> str:
        """The command's name, usable in a file name or an id."""
        return self.command.replace(" ", "-")

    @property
    def stem(self) -> str:
        """The common prefix of the ids of all jobs of this command on this output folder; safe in a URL and in a file name."""
        place = as_path(self.out)
        name = f"{place.parent.name}-{place.name}" if "run" in self.arguments else place.name
        digest = hashlib.sha256(f"{self.command}\n{self.out}".encode()).hexdigest()
        return f"wsc-ray-{self.slug}-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-')[:40] or 'run'}-{digest[:8]}"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that determines the job's results, wherever it runs."""
        recipe = self.recipe.to_yaml() if self.recipe else ""
        texts = [self.to_json(), recipe, *(f"{name}\n{text}" for name, text in sorted(self.files.items()))]
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the content of `call.json` without the number of nodes, which does not change the results."""
        return json.dumps({"command": self.command, "out": self.out, "arguments": self.arguments}, sort_keys=True)


def make_call(declaration: Declaration, arguments: Mapping[str, Any], *, storage: str | None = None) -> Call:
    """Return the call of a command with these arguments.

    Args:
        storage: the storage that the cluster's file names; results without a given folder go there.

    Raises:
        RecipeError: the recipe is wrong, or the output folder is missing.
        ManifestError: a file to be sent cannot be read.
        ClusterError: the call would hold a password, or an argument makes no sense on a cluster.
    """
    given = {name: value for name, value in arguments.items() if name not in LOCAL and not _empty(value)}
    place = _place(declaration, given, storage)
    recipe, overrides = None, given.pop("overrides", ())
    takes_recipe = declaration.takes("recipe")
    if takes_recipe and (given.get("recipe") is not None or not declaration.takes("run")):
        named = given.get("recipe")
        recipe = absolute_paths(named if isinstance(named, Recipe) else load_recipe(named, overrides))
        given["recipe"], overrides = RECIPE, ()
        given = {name: value for name, value in declaration.from_recipe(recipe).items() if value is not None} | given
        needs_data = declaration.reads_manifest and not declaration.takes("run")
        if needs_data and not (recipe.data.manifest or recipe.data.features):
            raise RecipeError(
                "recipe", ["`data.manifest`: missing; name the folder that `wsc-ray manifest import` wrote"]
            )
    values: dict[str, Any] = {}
    files: dict[str, str] = {}
    for parameter in declaration.parameters:
        beside = parameter.option.beside
        if beside in given and parameter.name not in given:
            values[parameter.name] = _absolute(as_path(given[beside]).parent)
        if parameter.name in given:
            values[parameter.name] = _value(parameter, given[parameter.name], files)
            if parameter.option.here_only:
                raise ClusterError(f"--{parameter.flag} {parameter.option.here_only}")
    if overrides:
        values["overrides"] = [str(override) for override in overrides]
    if declaration.works_on is None or "out" in given:
        values["out"] = place
    environment = {STORE: os.environ[STORE]} if os.environ.get(STORE) else {}
    plugins = _plugins(files)
    if plugins:
        environment[PLUGINS] = plugins
    _refuse_passwords([*_texts(values), *_places_of(recipe), *environment.values()])
    return Call(
        command=declaration.name,
        out=place,
        arguments=values,
        recipe=recipe,
        files=files,
        environment=environment,
        trains=declaration.trains,
        resources=_resources(declaration, recipe),
        checks_manifest=_checks(declaration, recipe, values),
    )


def doctor_call(*, recipe: str | Path | None = None, out: str | Path | None = None) -> Call:
    """Return the call that runs the preflight alone.

    Raises:
        RecipeError, ClusterError: as `make_call`.
    """
    loaded = absolute_paths(load_recipe(recipe)) if recipe else None
    values: dict[str, Any] = {"recipe": RECIPE} if loaded else {}
    if out:
        values["out"] = _absolute(out)
    environment = {STORE: os.environ[STORE]} if os.environ.get(STORE) else {}
    _refuse_passwords([*_texts(values), *_places_of(loaded), *environment.values()])
    return Call("doctor", _absolute(out) if out else "", values, loaded, environment=environment, trains=True)


def _empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list | tuple | dict) and not value)


def _place(declaration: Declaration, given: Mapping[str, Any], storage: str | None) -> str:
    """Return the absolute path or URI of the output folder."""
    out, run = given.get("out"), given.get("run")
    if out is None and declaration.works_on is not None:
        return _absolute(given[declaration.works_on])
    if out is None and run is None and declaration.default_out is None:
        raise RecipeError(declaration.name, ["--run: missing; give it or --out"])
    if out is not None:
        return _absolute(out)
    if run is not None and declaration.out_in_run:
        return str(as_path(run) / declaration.out_in_run)
    if declaration.default_out is None:
        raise RecipeError(declaration.name, ["--out: missing"])
    return _absolute(declaration.default_out({**given, "recipe": given.get("recipe", DEFAULT_RECIPE)}, storage))


def _value(parameter: Parameter, value: Any, files: dict[str, str]) -> Any:
    """Return an argument as a value for JSON, and add the text of a `file` to `files`."""
    kind = parameter.option.kind
    if kind == "file":
        if isinstance(as_path(value), StoragePath):
            return _absolute(value)
        source = local_path(value)
        if source.is_dir():  # of slides, which every node has to see under this path
            return str(source)
        name = f"{parameter.name}{source.suffix}"
        files[name] = _read(source)
        return name
    if kind == "path":
        if str(value).startswith(parameter.option.instead):
            return str(value)
        prefix = next((prefix for prefix in parameter.option.before if str(value).startswith(prefix)), "")
        return prefix + _absolute(str(value).removeprefix(prefix))
    if kind == "paths":
        return [_absolute(path) for path in value]
    if kind == "pairs":
        return {str(key): str(text) for key, text in value.items()}
    if kind == "texts":
        return [_repeated(parameter, str(text)) for text in value]
    return list(value) if kind == "numbers" and not isinstance(value, int | float) else value


def _repeated(parameter: Parameter, text: str) -> str:
    """Return the text of a repeatable option; in one of `manifest import --list`, the file's path is made absolute."""
    if parameter.option.metavar and parameter.option.metavar.startswith("FILE"):
        path, comma, rest = text.partition(",")
        return _absolute(path) + comma + rest
    return text


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{source} cannot be read: {getattr(error, 'strerror', None) or 'not a text file'}"
        ) from None


def _plugins(files: dict[str, str]) -> str:
    """Return the job's `WSC_RAY_PLUGINS`.

    Plug-ins that are files are added to `files`, so that the job imports them from its folder.
    """
    names = []
    for name in named_plugins():
        if name.endswith(".py"):
            path = local_path(name)
            files[path.name] = _read(path)
            name = path.stem
        names.append(name)
    return os.pathsep.join(names)


def _checks(declaration: Declaration, recipe: Recipe | None, values: Mapping[str, Any]) -> bool:
    """Return whether the preflight checks a manifest or features; not those that the job may have to cut itself."""
    if declaration.cuts_first and recipe is not None and recipe.tile.slides:
        return False
    named = declaration.read_by(values) is not None
    return named or (declaration.takes("recipe") and declaration.reads_manifest)


def _resources(declaration: Declaration, recipe: Recipe | None) -> dict[str, str]:
    if recipe is None and declaration.takes("recipe"):
        return {"recipe": "as the run folder's recipe says"}
    return declaration.resources(recipe)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def _absolute(path: Any) -> str:
    return str(as_path(path))


def _places_of(recipe: Recipe | None) -> list[str]:
    """Return the paths and URIs in a recipe, except those of slides and of MLflow's store, in which every recipe with a password is refused."""
    if recipe is None:
        return []
    data = recipe.data
    places = (data.manifest, data.features, data.cohort, recipe.encoder.weights, recipe.stream.features)
    return [place for place in places if place]


def _refuse_passwords(texts: Iterable[str]) -> None:
    for text in texts:
        uri = text.partition("=")[2] if re.match(r"[\w.]+=", text) else text
        if has_secrets(uri):
            raise ClusterError(
                f"{shown(uri)} holds a password or key, which the cluster's list of jobs would show; take it out and give it to the "
                "nodes: as an IAM role for a bucket, as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow"
            )

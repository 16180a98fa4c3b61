"""What a command with `--address` asks of a cluster: the entry point, its arguments and the recipe, all resolved here.

A job works in a folder of its own, so every path is made absolute where the command is typed. What travels is seen by
whoever may look at the cluster's jobs, and stays in the run folder, so that no password may be in it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wsc_ray.errors import ClusterError, ManifestError, RecipeError, RunFolderError
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder

RECIPE = "recipe.yaml"
STORE = "MLFLOW_TRACKING_URI"  # the one variable of the environment that travels


@dataclass(frozen=True)
class Request:
    """One job to be: `python jobs/<command>.py <arguments>`, with `recipe` beside it as `recipe.yaml`.

    Attributes:
        out: where the command leaves its results; two jobs never work on one place at a time.
        recipe: None where the run folder's own is used.
        nodes: that have to be up before anything else happens.
        cluster: YAML of the cluster's file, without secrets, to keep beside the results; None where there is none.
        slides: name and text of the list of slides, to lie beside the recipe's place; None where there is none.
    """

    command: str
    out: str
    arguments: tuple[str, ...]
    recipe: Recipe | None
    environment: tuple[tuple[str, str], ...] = ()
    nodes: int = 1
    cluster: str | None = None
    slides: tuple[str, str] | None = None

    @property
    def entry(self) -> str:
        """The script, relative to the job's folder."""
        return f"jobs/{self.command}.py"

    @property
    def stem(self) -> str:
        """Beginning of the ids of all jobs of this command on this place; safe in a URL and in a file's name."""
        place = Path(self.out)
        name = place.name if self.command == "pretrain" else f"{place.parent.name}-{place.name}"
        digest = hashlib.sha256(f"{self.command}\n{self.out}".encode()).hexdigest()
        return f"wsc-ray-{self.command}-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-')[:40] or 'run'}-{digest[:8]}"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that decides what the job does, wherever it runs."""
        recipe = self.recipe.to_yaml() if self.recipe else ""
        texts = [self.command, *self.arguments, recipe, *(self.slides or ())]
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def make_request(
    command: str,
    *,
    out: str | Path | None = None,
    run: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    **places: str | Path | None,
) -> Request:
    """The request for a call of `commands.<command>` with these arguments.

    Args:
        places: the command's other options, all of them paths.

    Raises:
        RecipeError: the recipe is wrong, or neither `out` nor `run` is given.
        RunFolderError: an output folder that is a URI.
        ClusterError: a password in what would travel.
    """
    place = _place(command, out, run)
    options: dict[str, Any] = {"out": place, "run": run, **places}
    loaded = None
    if command == "pretrain" or recipe is not None:  # what else there is lies in the run folder
        loaded = _absolute_recipe(recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides))
        overrides = ()
    if command == "pretrain" and not loaded.data.manifest:
        raise RecipeError("recipe", ["`data.manifest`: missing; name the folder that `wsc-ray manifest import` wrote"])
    return _request(command, place, options, loaded, overrides)


def doctor_request(*, recipe: str | Path | None = None, out: str | Path | None = None) -> Request:
    """The request for the preflight alone.

    Raises:
        RecipeError, ClusterError: as `make_request`.
    """
    place = _absolute(out) if out else ""
    return _request("doctor", place, {"out": place or None}, _absolute_recipe(load_recipe(recipe)) if recipe else None)


def bench_request(*, out: str | Path, nodes: Sequence[int] | None = None, **options: Any) -> Request:
    """The request for `bench scaling` with these options, numbers or paths.

    Raises:
        RunFolderError: as `make_request`.
        ClusterError: as there, and for `nodes`, which are for one machine.
    """
    if nodes is not None:
        raise ClusterError(
            "--nodes starts nodes on this machine; on a cluster, workers go where there is room for them"
        )
    named = {"project" if name == "projected" else name: value for name, value in options.items()}
    return _words_request("bench", out, named, paths=("manifest", "markdown"))


def tile_request(*, slides: str | Path, out: str | Path, folder: str | Path | None = None, **options: Any) -> Request:
    """The request for `tile` with these options. The list travels; the slides lie where every node sees them.

    Raises:
        ManifestError: the list cannot be read.
        RunFolderError, ClusterError: as `make_request`.
    """
    source = Path(slides).expanduser()
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{source} cannot be read: {getattr(error, 'strerror', None) or 'not a text file'}"
        ) from None
    carried = f"slides{source.suffix}"
    repeated = {"columns": "column", "constants": "constant", "label_names": "label"}
    named = {"slides": carried, "folder": folder or source.parent}
    for name, value in options.items():
        pairs = [f"{key}={each}" for key, each in (value or {}).items()] if name in repeated else value
        named[repeated.get(name, name)] = pairs
    request = _words_request("tile", out, named, paths=("folder",), repeated=tuple(repeated.values()))
    return replace(request, slides=(carried, text))


def _words_request(
    command: str, out: str | Path, options: Mapping[str, Any], *, paths: Sequence[str], repeated: Sequence[str] = ()
) -> Request:
    """A command line's options as they are, but for paths, which become absolute.

    Args:
        repeated: options that stand once for each of their values, not with commas between them.
    """
    place, words = _place(command, out, None), []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif name in repeated:
            words += [word for each in value for word in (option, each)]
        elif value is not None and value is not False:
            listed = ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
            words += [option, _absolute(value) if name in paths else str(listed)]
    request = _request(command, place, {"out": place}, None)
    _refuse_passwords(words)
    return replace(request, arguments=(*request.arguments, *words))


def _request(
    command: str, place: str, options: dict[str, Any], recipe: Recipe | None, overrides: Sequence[str] = ()
) -> Request:
    arguments = ["--recipe", RECIPE] if recipe else []
    for name, value in options.items():
        if value is not None:
            arguments += [f"--{'from' if name == 'start_from' else name}", _absolute(value)]
    for override in overrides:
        arguments += ["--set", override]
    environment = {STORE: os.environ[STORE]} if os.environ.get(STORE) else {}
    manifest = [recipe.data.manifest] if recipe and recipe.data.manifest else []
    _refuse_passwords([*arguments, *manifest, *environment.values()])  # elsewhere a recipe holds none
    return Request(command, place, tuple(arguments), recipe, tuple(environment.items()))


def _place(command: str, out: str | Path | None, run: str | Path | None) -> str:
    if out is None and run is None:
        raise RecipeError(command, ["--run: missing; give it or --out"])
    for given in (out, run):
        if given is not None and "://" in str(given):
            raise RunFolderError(f"{given}: give a path that every node mounts, not a URI")
    if out is not None:
        return _absolute(out)
    folder = RunFolder(run)
    return str({"embed": folder.features, "tune": folder.mil}[command])


def _absolute(path: str | Path) -> str:
    return str(path) if "://" in str(path) else str(Path(path).expanduser().absolute())


def _absolute_recipe(recipe: Recipe) -> Recipe:
    data, encoder = recipe.data, recipe.encoder
    if data.manifest:
        data = data.model_copy(update={"manifest": _absolute(data.manifest)})
    if encoder.weights not in ("imagenet", "random"):
        encoder = encoder.model_copy(update={"weights": _absolute(encoder.weights)})
    return recipe.model_copy(update={"data": data, "encoder": encoder})


def _refuse_passwords(texts: Iterable[str]) -> None:
    for text in texts:
        parts = urlsplit(text.partition("=")[2] if re.match(r"[\w.]+=", text) else text)
        if parts.password:
            host = parts.netloc.rpartition("@")[2]
            raise ClusterError(
                f"{parts.scheme}://...@{host} holds a password, which would be seen in the cluster's list of jobs; take it out and let the "
                "nodes have it: an IAM role for a bucket, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow"
            )

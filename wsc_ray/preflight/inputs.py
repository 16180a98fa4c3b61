"""The manifest or features that a command reads: opened once here, then read a little of on every node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wsc_ray.cohort.cohort import PATCHES
from wsc_ray.declaration import Declaration
from wsc_ray.errors import DataError, UserError
from wsc_ray.feature_files.files import UNREADABLE, open_rows, read_slides, slide_path
from wsc_ray.files import first_line
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.stream.source import Source, named_source, open_source


@dataclass(frozen=True)
class Input:
    """What a command reads.

    Attributes:
        kind: `training`: the manifest or the features with views that the recipe trains on; `manifest`: one that needs no labels;
            `features`: a feature store, or a folder of feature files.
        place: its path or URI.
    """

    kind: Literal["training", "manifest", "features"]
    place: str


@dataclass(frozen=True)
class FeatureFile:
    """A file of features, as every node has to see it; `place` is None for a folder without any, which the command refuses itself."""

    place: AnyPath | None


Opened = Source | FeatureFile


def input_of(declaration: Declaration, arguments: Mapping[str, Any], recipe: Recipe) -> Input | None:
    """Return what a command reads with these arguments; None if it reads no manifest and no features on the nodes."""
    named = declaration.read_by(arguments)
    if named is not None:
        return Input("manifest" if named[0] == "manifest" else "features", named[1])
    if not declaration.reads_manifest:
        return None
    return trained_on(recipe) if declaration.trains else _embedded(recipe)


def trained_on(recipe: Recipe) -> Input | None:
    """Return what a recipe trains on."""
    place = named_source(recipe.data)
    return Input("training", place) if place else None


def _embedded(recipe: Recipe) -> Input | None:
    """Return what a recipe's slides are embedded from, which needs neither labels nor views."""
    if recipe.data.features:
        return Input("features", recipe.data.features)
    return Input("manifest", recipe.data.manifest) if recipe.data.manifest else None


def open_input(given: Input, recipe: Recipe) -> Opened:
    """Open what a command reads, on the node that gathers the facts.

    Raises:
        UserError: it cannot be read there.
    """
    if given.kind == "training":
        return open_source(recipe.data)
    if given.kind == "manifest":
        return open_manifest(given.place, labelled=False)
    folder = as_path(given.place)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist")
    try:
        slides = read_slides(folder).slides
    except UserError:  # files of other tools have no table of slides
        files: list[AnyPath] = sorted(folder.glob("*.h5"))
        return FeatureFile(files[0] if files else None)
    counts = zip(slides["slide_id"].to_pylist(), slides[PATCHES].to_pylist(), strict=True)
    return FeatureFile(next((slide_path(folder, slide) for slide, patches in counts if patches), None))


def why_unreadable(opened: Opened) -> str:
    """Return why this node cannot read the input; "" if it can."""
    if isinstance(opened, FeatureFile):
        return "" if opened.place is None else _why_unreadable_file(opened.place)
    try:
        opened.read_group(0, 0, ["slide_id"])
    except (UserError, OSError) as error:
        return str(error)
    return ""


def _why_unreadable_file(place: AnyPath) -> str:
    try:
        with open_rows(place) as file:
            list(file)
    except UNREADABLE as error:
        return f"{place} cannot be read: {first_line(error)}"
    return ""

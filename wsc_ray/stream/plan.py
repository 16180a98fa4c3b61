"""What a recipe makes of a manifest: the classes, their row groups, and how long the run is."""

from __future__ import annotations

from dataclasses import dataclass

from wsc_ray.errors import DataError
from wsc_ray.manifest import Manifest
from wsc_ray.recipe import Recipe
from wsc_ray.stream.order import MIXED, PURE, Geometry, epoch_steps


@dataclass(frozen=True)
class Group:
    """A row group of the manifest: where it is, its rows, and its slide label as an index into `Plan.labels`."""

    file: int
    row_group: int
    rows: int
    label: int


@dataclass(frozen=True)
class Plan:
    """The whole order of a run.

    Attributes:
        geometry: how steps are divided.
        epochs: of the run.
        labels: slide labels, the pure ones first.
        pure: how many of them are pure.
        groups: row groups of the pure and of the mixed class, by `PURE` and `MIXED`.
    """

    geometry: Geometry
    epochs: int
    labels: tuple[str, ...]
    pure: int
    groups: tuple[tuple[Group, ...], tuple[Group, ...]]

    @property
    def total_steps(self) -> int:
        return self.epochs * self.geometry.steps

    def sizes(self, kind: int) -> tuple[int, ...]:
        return tuple(group.rows for group in self.groups[kind])

    def patches(self, kind: int) -> int:
        return sum(self.sizes(kind))


def class_names(found: set[str], recipe: Recipe) -> tuple[list[str], list[str]]:
    """The pure and the mixed slide labels among those found.

    Raises:
        DataError: one of the two has none, or a label is named that no slide has.
    """
    pure = [label for label in recipe.data.pure if label in found]
    wanted = recipe.data.mixed if recipe.data.mixed is not None else sorted(found - set(recipe.data.pure))
    mixed = [label for label in wanted if label in found]
    missing = sorted((set(recipe.data.pure) | set(recipe.data.mixed or [])) - found)
    have = ", ".join(sorted(found)) or "none"
    where = f"split {recipe.data.train_split!r} of {recipe.data.manifest}"
    if not pure:
        raise DataError(
            f"{where} holds no patch of a pure label ({', '.join(recipe.data.pure)}); its labels are: {have}; set data.pure"
        )
    if missing:
        raise DataError(f"{where} holds no patch labelled {', '.join(missing)}; its labels are: {have}")
    if not mixed:
        raise DataError(
            f"{where} holds no patch of a mixed label; its labels are: {have}; set data.pure and data.mixed"
        )
    return pure, mixed


def make_plan(manifest: Manifest, recipe: Recipe) -> Plan:
    """The plan of a run, from the manifest's footers alone.

    Raises:
        DataError: the training split is empty or lacks a class, or is too small for one step.
    """
    split = recipe.data.train_split
    found = [group for group in manifest.row_groups if group.split == split and group.rows]
    if not found:
        others = ", ".join(sorted({group.split for group in manifest.row_groups})) or "none"
        raise DataError(f"split {split!r} of {recipe.data.manifest} is empty; the manifest's splits are: {others}")
    pure, mixed = class_names({group.label for group in found}, recipe)
    labels = (*pure, *mixed)
    groups = tuple(
        tuple(Group(g.file, g.row_group, g.rows, labels.index(g.label)) for g in found if g.label in names)
        for names in (pure, mixed)
    )
    rows = {kind: sum(group.rows for group in groups[kind]) for kind in (PURE, MIXED)}
    steps = recipe.train.steps_per_epoch or epoch_steps(rows, recipe.train.batch_size)
    if steps == 0:
        raise DataError(
            f"split {split!r} of {recipe.data.manifest} holds {rows[PURE]} pure and {rows[MIXED]} mixed patches, fewer "
            f"than half a batch; set train.batch_size to {2 * max(rows.values())} or less"
        )
    geometry = Geometry(
        seed=recipe.seed,
        sampling=recipe.stream.sampling,
        batch_size=recipe.train.batch_size,
        shards=recipe.stream.shards,
        steps=steps,
        window=min(recipe.stream.window, steps),
    )
    return Plan(geometry, recipe.train.epochs, labels, len(pure), groups)

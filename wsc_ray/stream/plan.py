"""What a recipe makes of a manifest: the classes, their row groups, and how long the run is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.manifest import Manifest
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.class_order import ClassOrder, equal_sources, whole_groups
from wsc_ray.stream.order import MIXED, PURE, Geometry, epoch_steps, worker_patches


@dataclass(frozen=True)
class Group:
    """A row group of the manifest: where it is, its rows, and its slide label as an index into `Plan.labels`."""

    file: int
    row_group: int
    rows: int
    label: int


@dataclass(frozen=True, eq=False)
class Groups(Sequence[Group]):
    """Row groups as a sequence of `Group`, kept as one (row groups, 4) int64 array: small to send, quick to open."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Group:
        return Group(*self.values[index].tolist())

    @property
    def rows(self) -> np.ndarray:
        """(row groups,) int64."""
        return self.values[:, 2]


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole order of a run.

    Attributes:
        geometry: how steps are divided.
        epochs: of the run.
        labels: slide labels, the pure ones first.
        pure: how many of them are pure.
        groups: row groups of the pure and of the mixed class, by `PURE` and `MIXED`.
        classes: likewise their lines.
    """

    geometry: Geometry
    epochs: int
    labels: tuple[str, ...]
    pure: int
    groups: tuple[Groups, Groups]
    classes: tuple[ClassOrder, ClassOrder]

    @property
    def total_steps(self) -> int:
        return self.epochs * self.geometry.steps

    def patches_until(self, step: int) -> int:
        """Patches of both classes in the steps of the run before `step`."""
        epoch, within = divmod(step, self.geometry.steps)
        return 2 * (epoch * self.geometry.patches + self.geometry.patches_until(within))

    def lines(self, kind: int) -> ClassOrder:
        return self.classes[kind]

    def patches(self, kind: int) -> int:
        return int(self.groups[kind].rows.sum())


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
        DataError: the training split is empty or lacks a class, is too small for one step, or leaves a worker without
            patches in a short one.
        ManifestError: `stream.by` asks for slides or patients, and the footers do not tell them.
    """
    split = recipe.data.train_split
    found = [(index, group) for index, group in enumerate(manifest.row_groups) if group.split == split and group.rows]
    if not found:
        others = ", ".join(sorted({group.split for group in manifest.row_groups})) or "none"
        raise DataError(f"split {split!r} of {recipe.data.manifest} is empty; the manifest's splits are: {others}")
    pure, mixed = class_names({group.label for _, group in found}, recipe)
    labels = (*pure, *mixed)
    numbers = {label: number for number, label in enumerate(labels)}
    # (row groups of both classes, 5): the manifest's number, then what `Groups` holds
    table = np.array(
        [(index, g.file, g.row_group, g.rows, numbers[g.label]) for index, g in found if g.label in numbers],
        dtype=np.int64,
    )
    mine = [table[table[:, 4] < len(pure)], table[table[:, 4] >= len(pure)]]
    groups = tuple(Groups(values[:, 1:]) for values in mine)
    classes = _classes(manifest, recipe.stream.by, [values[:, 0] for values in mine], groups)
    geometry = _geometry(recipe, classes)
    return Plan(geometry, recipe.train.epochs, labels, len(pure), groups, classes)


def _classes(
    manifest: Manifest, by: str, indices: Sequence[np.ndarray], groups: Sequence[Groups]
) -> tuple[ClassOrder, ClassOrder]:
    """The lines of both classes.

    Args:
        indices: the manifest's numbers of each class's row groups, ascending.
    """
    if by == "patch":
        return whole_groups(groups[PURE].rows), whole_groups(groups[MIXED].rows)
    owner = f"{by}_id"
    runs = manifest.runs(sorted({owner, "slide_id"}))
    lines = []
    for index in indices:
        here = np.isin(runs.group, index)
        group = np.searchsorted(index, runs.group[here])
        source, slide = (runs.owners[name][here] for name in (owner, "slide_id"))
        lines.append(equal_sources(group, runs.start[here], runs.rows[here], source, slide))
    return lines[PURE], lines[MIXED]


def _geometry(recipe: Recipe, classes: Sequence[ClassOrder]) -> Geometry:
    where = f"split {recipe.data.train_split!r} of {recipe.data.manifest}"
    places = [lines.total for lines in classes]
    half = recipe.train.batch_size // 2
    steps, rest = epoch_steps(max(places), half)
    if recipe.train.steps_per_epoch is not None:
        steps, rest = recipe.train.steps_per_epoch, 0
    if steps == 0:
        raise DataError(
            f"{where} holds {places[PURE]} pure and {places[MIXED]} mixed patches, fewer than half a batch; set "
            f"train.batch_size to {2 * max(places)} or less"
        )
    geometry = Geometry(
        seed=recipe.seed,
        sampling=recipe.stream.sampling,
        batch_size=recipe.train.batch_size,
        shards=recipe.stream.shards,
        steps=steps,
        window=min(recipe.stream.window, steps),
        rest=rest,
    )
    # A number of workers that does not divide the shards can leave one of them without a patch.
    fit = [min(worker_patches(geometry, steps - 1, workers)) > 0 for workers in range(1, recipe.train.workers + 1)]
    if not all(fit[recipe.train.fewest_workers - 1 :]):
        raise DataError(
            f"{where} ends an epoch with a step of {geometry.size(steps - 1)} patches of each class, not one for each of "
            f"{recipe.train.workers} workers; set train.workers to {fit.index(False)} or less, or train.steps_per_epoch to "
            f"{max(places) // half}"
        )
    return geometry

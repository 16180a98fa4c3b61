"""What a recipe makes of a manifest: the classes, their row groups, and how long the run is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError
from wsc_ray.manifest.runs import Runs
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.class_order import ClassOrder, equal_sources, whole_groups
from wsc_ray.stream.order import MIXED, PURE, Geometry, epoch_steps, worker_patches
from wsc_ray.stream.source import Source, named_source


@dataclass(frozen=True)
class Group:
    """Neighbouring rows of a row group that are of one class and label: all of it, as manifests are laid out.

    Another target or other splits may divide a row group; each piece is then a group of its own.

    Attributes:
        file, row_group: where it is.
        start: its first row inside the row group.
        label: an index into `Plan.labels`.
    """

    file: int
    row_group: int
    start: int
    rows: int
    label: int


@dataclass(frozen=True, eq=False)
class Groups(Sequence[Group]):
    """A sequence of `Group`, kept as one (groups, 5) int64 array: small to send, quick to open."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Groups: ...
    def __getitem__(self, index: int | slice) -> Group | Groups:
        found = self.values[index]
        return Groups(found) if isinstance(index, slice) else Group(*found.tolist())

    @property
    def rows(self) -> np.ndarray:
        """(groups,) int64."""
        return self.values[:, 3]


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole order of a run.

    Attributes:
        geometry: how steps are divided.
        epochs: of the run.
        labels: slide labels, the pure ones first.
        pure: how many of them are pure.
        groups: of the pure and of the mixed class, by `PURE` and `MIXED`.
        classes: likewise their lines.
        cohort: SHA-256 (hex) of what the plan was made of besides patches: slides, patients and labels of the training split.
        notes: what people should know of the choice of slides.
    """

    geometry: Geometry
    epochs: int
    labels: tuple[str, ...]
    pure: int
    groups: tuple[Groups, Groups]
    classes: tuple[ClassOrder, ClassOrder]
    cohort: str
    notes: tuple[str, ...] = ()

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
    where = f"split {recipe.data.train_split!r} of {named_source(recipe.data)}"
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


def make_plan(manifest: Source, recipe: Recipe) -> Plan:
    """The plan of a run, from the manifest's footers and its table of slides alone; of a feature store from its table.

    Raises:
        DataError: the training split is empty or lacks a class, is too small for one step, or leaves a worker without
            patches in a short one; or the cohort is not as the recipe says.
        ManifestError: the table of slides or `data.cohort` cannot be used.
    """
    split = recipe.data.train_split
    chosen = choose_slides(manifest.cohort(), recipe.data)
    runs = manifest.runs()
    slides = {row["slide_id"]: row for row in chosen.slides.to_pylist()}
    train = {slide: slides[slide] for slide in runs.slides if slide in slides and slides[slide]["split"] == split}
    if not train:
        others = ", ".join(sorted({row["split"] for row in slides.values() if row["split"]})) or "none"
        raise DataError(f"split {split!r} of {named_source(recipe.data)} is empty; the manifest's splits are: {others}")
    pure, mixed = class_names({row["label"] for row in train.values()}, recipe)
    labels = (*pure, *mixed)
    label_of = np.array([_number(labels, train.get(slide)) for slide in runs.slides], dtype=np.int64)
    kinds = (
        _groups(manifest, runs, label_of, range(len(pure))),
        _groups(manifest, runs, label_of, range(len(pure), len(labels))),
    )
    patients = _numbers([slides[slide]["patient_id"] if slide in slides else None for slide in runs.slides])
    classes = _order(kinds[PURE], recipe.stream.by, patients), _order(kinds[MIXED], recipe.stream.by, patients)
    geometry = _geometry(recipe, classes)
    return Plan(
        geometry,
        recipe.train.epochs,
        labels,
        len(pure),
        (kinds[PURE].groups, kinds[MIXED].groups),
        classes,
        _digest(train, labels),
        chosen.notes,
    )


@dataclass(frozen=True, eq=False)
class _Kind:
    """The groups of a class, and the runs of slides in them: group and slide (numbers), first row and rows, all (runs,)."""

    groups: Groups
    group: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    slide: np.ndarray


def _groups(manifest: Source, runs: Runs, label_of: np.ndarray, labels: range) -> _Kind:
    """The groups of a class: neighbouring runs of one row group and one label are one group.

    Args:
        label_of: of each slide of the runs, below 0 where it takes no part.
        labels: the class's.
    """
    label = label_of[runs.slide]
    begins = np.ones(len(label), dtype=bool)
    begins[1:] = (np.diff(runs.group) != 0) | (np.diff(label) != 0)
    mine = np.isin(label, labels)
    number = np.cumsum(begins & mine) - 1  # of the class's group, for runs that are `mine`
    first = np.flatnonzero(begins & mine)
    number, rows = number[mine], runs.rows[mine]
    places = np.array([(group.file, group.row_group) for group in manifest.row_groups], dtype=np.int64).reshape(-1, 2)
    values = np.column_stack(
        [
            places[runs.group[first]],
            runs.start[first],
            np.bincount(number, rows, len(first)).astype(np.int64),
            label[first],
        ]
    )
    return _Kind(Groups(values), number, runs.start[mine] - runs.start[first][number], rows, runs.slide[mine])


def _order(kind: _Kind, by: str, patients: np.ndarray) -> ClassOrder:
    """The order of a class.

    Args:
        patients: a number for each slide of the runs.
    """
    if by == "patch":
        return whole_groups(kind.groups.rows)
    source = kind.slide if by == "slide" else patients[kind.slide]
    return equal_sources(kind.group, kind.start, kind.rows, source, kind.slide)


def _number(labels: Sequence[str], row: Mapping[str, Any] | None) -> int:
    """A slide's label as an index; -1 where it takes no part."""
    return labels.index(row["label"]) if row is not None and row["label"] in labels else -1


def _numbers(names: Sequence[str | None]) -> np.ndarray:
    """A number for each name, in the order in which they first come, (names,) int64."""
    found: dict[str | None, int] = {}
    return np.array([found.setdefault(name, len(found)) for name in names], dtype=np.int64)


def _digest(train: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> str:
    rows = [[slide, row["patient_id"], row["label"]] for slide, row in sorted(train.items()) if row["label"] in labels]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _geometry(recipe: Recipe, classes: Sequence[ClassOrder]) -> Geometry:
    where = f"split {recipe.data.train_split!r} of {named_source(recipe.data)}"
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

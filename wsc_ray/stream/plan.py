"""The plan of a run, made from a source and a recipe: the classes, their groups, their order, and the number of steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.cohort import choose_slides
from wsc_ray.errors import DataError
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.class_order import ClassOrder
from wsc_ray.stream.groups import Groups, Kind, by_cluster, groups_of, order_of
from wsc_ray.stream.order import MIXED, PURE, Geometry, epoch_steps, worker_patches
from wsc_ray.stream.source import Source, named_source


@dataclass(frozen=True, eq=False)
class Plan:
    """The plan of a run: which patches each step of each epoch holds.

    Attributes:
        geometry: how an epoch is divided into steps.
        epochs: number of epochs.
        labels: slide labels, the pure ones first.
        pure: number of pure labels.
        groups: groups of each class, indexed by `PURE` and `MIXED`.
        orders: order of each class, indexed by `PURE` and `MIXED`.
        cohort: SHA-256 (hex) of the slides, patients and labels of the training split, from which the plan was made.
        notes: sentences for the user on how slides were chosen.
    """

    geometry: Geometry
    epochs: int
    labels: tuple[str, ...]
    pure: int
    groups: tuple[Groups, Groups]
    orders: tuple[ClassOrder, ClassOrder]
    cohort: str
    notes: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        return self.epochs * self.geometry.steps

    def patches_until(self, step: int) -> int:
        """Return the number of patches, both classes together, in the steps of the run before `step`."""
        epoch, within = divmod(step, self.geometry.steps)
        return 2 * (epoch * self.geometry.patches + self.geometry.patches_until(within))

    def patches(self, kind: int) -> int:
        """Return the number of patches of a class, `PURE` or `MIXED`, in the training split."""
        return int(self.groups[kind].rows.sum())


def class_names(labels: set[str], recipe: Recipe) -> tuple[list[str], list[str]]:
    """Return the pure and the mixed labels among the labels of the training slides.

    Raises:
        DataError: no slide is pure or none is mixed, or the recipe names a label that no slide has.
    """
    pure = [label for label in recipe.data.pure if label in labels]
    wanted = recipe.data.mixed if recipe.data.mixed is not None else sorted(labels - set(recipe.data.pure))
    mixed = [label for label in wanted if label in labels]
    missing = sorted((set(recipe.data.pure) | set(recipe.data.mixed or [])) - labels)
    have = ", ".join(sorted(labels)) or "none"
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


@dataclass(frozen=True, eq=False)
class TrainingSplit:
    """The training split, divided into the two classes: all of a plan that does not depend on the order of patches.

    Attributes:
        labels, pure, notes, cohort: as in `Plan`.
        kinds: the groups of each class, indexed by `PURE` and `MIXED`.
        patients: (slides,) number of each slide's patient.
    """

    labels: tuple[str, ...]
    pure: int
    kinds: tuple[Kind, Kind]
    patients: np.ndarray
    cohort: str
    notes: tuple[str, ...]


def divide(source: Source, recipe: Recipe) -> TrainingSplit:
    """Return the training split of a run.

    This reads only footers and the table of slides of a manifest, or the table of a feature store.

    Raises:
        DataError: the split is empty or lacks a class, or the cohort does not fit the recipe.
        ManifestError: the table of slides or `data.cohort` cannot be used.
    """
    split = recipe.data.train_split
    chosen = choose_slides(source.cohort(), recipe.data)
    runs = source.runs()
    slides = {row["slide_id"]: row for row in chosen.slides.to_pylist()}
    train = {slide: slides[slide] for slide in runs.slides if slide in slides and slides[slide]["split"] == split}
    if not train:
        others = ", ".join(sorted({row["split"] for row in slides.values() if row["split"]})) or "none"
        raise DataError(f"split {split!r} of {named_source(recipe.data)} is empty; the manifest's splits are: {others}")
    pure, mixed = class_names({row["label"] for row in train.values()}, recipe)
    labels = (*pure, *mixed)
    label_of = np.array([_number(labels, train.get(slide)) for slide in runs.slides], dtype=np.int64)
    kinds = (
        groups_of(source, runs, label_of, range(len(pure))),
        groups_of(source, runs, label_of, range(len(pure), len(labels))),
    )
    patients = _numbers([slides[slide]["patient_id"] if slide in slides else None for slide in runs.slides])
    return TrainingSplit(labels, len(pure), kinds, patients, _digest(train, labels), chosen.notes)


def make_plan(source: Source, recipe: Recipe) -> Plan:
    """Return the plan of a run whose `stream.by` is not `cluster`.

    Raises:
        DataError, ManifestError: see `divide` and `plan_of`.
    """
    return plan_of(divide(source, recipe), recipe)


def plan_of(split: TrainingSplit, recipe: Recipe, clusters: np.ndarray | None = None) -> Plan:
    """Return the plan of a run.

    Args:
        clusters: (n,) int64, the cluster of each patch of the pure class, for `stream.by: cluster`; see `wsc_ray.stream.clusters`.

    Raises:
        DataError: a class is too small for one step, or leaves a worker without patches in a short step.
    """
    pure, mixed = split.kinds
    by = recipe.stream.by
    if by == "cluster":
        assert clusters is not None
        orders = by_cluster(pure, clusters), order_of(mixed, "patch", split.patients)
    else:
        orders = order_of(pure, by, split.patients), order_of(mixed, by, split.patients)
    groups = pure.groups, mixed.groups
    geometry = _geometry(recipe, orders)
    return Plan(geometry, recipe.train.epochs, split.labels, split.pure, groups, orders, split.cohort, split.notes)


def _number(labels: Sequence[str], row: Mapping[str, Any] | None) -> int:
    """Return the index of a slide's label; -1 for a slide that the run leaves out."""
    return labels.index(row["label"]) if row is not None and row["label"] in labels else -1


def _numbers(names: Sequence[str | None]) -> np.ndarray:
    """Return a number for each name, counted in the order of first appearance, (names,) int64."""
    numbers: dict[str | None, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _digest(train: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> str:
    rows = [[slide, row["patient_id"], row["label"]] for slide, row in sorted(train.items()) if row["label"] in labels]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _geometry(recipe: Recipe, orders: Sequence[ClassOrder]) -> Geometry:
    where = f"split {recipe.data.train_split!r} of {named_source(recipe.data)}"
    slots = [order.total for order in orders]
    half = recipe.train.batch_size // 2
    steps, rest = epoch_steps(max(slots), half)
    if recipe.train.steps_per_epoch is not None:
        steps, rest = recipe.train.steps_per_epoch, 0
    if steps == 0:
        raise DataError(
            f"{where} holds {slots[PURE]} pure and {slots[MIXED]} mixed patches, fewer than half a batch; set "
            f"train.batch_size to {2 * max(slots)} or less"
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
            f"{max(slots) // half}"
        )
    return geometry

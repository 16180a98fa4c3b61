"""The groups of a class, which its patches are read by, and the order in which they are shown: by patch, slide, patient or cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from wsc_ray.manifest.runs import Runs
from wsc_ray.stream.class_order import ClassOrder, equal_sources, whole_groups
from wsc_ray.stream.source import Source


@dataclass(frozen=True)
class Group:
    """Neighbouring rows of a row group that have one class and label.

    Manifests are laid out so that this is a whole row group. Another target or other splits may divide a row group; each
    piece is then a group of its own.

    Attributes:
        file, row_group: its file, and its row group in that file.
        start: its first row inside the row group.
        rows: its number of rows.
        label: an index into `Plan.labels`.
    """

    file: int
    row_group: int
    start: int
    rows: int
    label: int


@dataclass(frozen=True, eq=False)
class Groups(Sequence[Group]):
    """A sequence of `Group`, kept as one (groups, 5) int64 array, which is small to send and quick to open."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Groups: ...
    def __getitem__(self, index: int | slice) -> Group | Groups:
        values = self.values[index]
        return Groups(values) if isinstance(index, slice) else Group(*values.tolist())

    @property
    def rows(self) -> np.ndarray:
        """Number of rows of each group, (groups,) int64."""
        return self.values[:, 3]


@dataclass(frozen=True, eq=False)
class Kind:
    """The groups of a class, and the runs of slides inside them.

    Attributes:
        group, start, rows: (runs,) number of the group, first row inside it, and number of rows.
        slide: (runs,) number of the slide.
    """

    groups: Groups
    group: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    slide: np.ndarray


def groups_of(source: Source, runs: Runs, label_of: np.ndarray, labels: range) -> Kind:
    """Return the groups of a class; neighbouring runs of one row group and one label form a group.

    Args:
        label_of: (slides,) label of each slide of the runs; below 0 for slides that the run leaves out.
        labels: labels of the class.
    """
    label = label_of[runs.slide]
    begins = np.ones(len(label), dtype=bool)
    begins[1:] = (np.diff(runs.group) != 0) | (np.diff(label) != 0)
    own = np.isin(label, labels)
    number = np.cumsum(begins & own) - 1  # number of the group, for runs that are `own`
    first = np.flatnonzero(begins & own)
    number, rows = number[own], runs.rows[own]
    places = np.array([(group.file, group.row_group) for group in source.row_groups], dtype=np.int64).reshape(-1, 2)
    values = np.column_stack(
        [
            places[runs.group[first]],
            runs.start[first],
            np.bincount(number, rows, len(first)).astype(np.int64),
            label[first],
        ]
    )
    return Kind(Groups(values), number, runs.start[own] - runs.start[first][number], rows, runs.slide[own])


def order_of(kind: Kind, by: str, patients: np.ndarray) -> ClassOrder:
    """Return the order of a class.

    Args:
        by: what weighs the same, see `stream.by`.
        patients: (slides,) number of each slide's patient.
    """
    if by == "patch":
        return whole_groups(kind.groups.rows)
    source = kind.slide if by == "slide" else patients[kind.slide]
    return equal_sources(kind.group, kind.start, kind.rows, source, kind.slide)


def by_cluster(kind: Kind, clusters: np.ndarray) -> ClassOrder:
    """Return the order of a class in which every cluster weighs the same; neighbouring rows of a slide and a cluster form a run.

    Args:
        clusters: (n,) cluster of each row of the class, group by group.
    """
    sizes = kind.groups.rows
    group = np.repeat(np.arange(len(sizes)), sizes)
    row = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    slide = np.repeat(kind.slide, kind.rows)  # runs lie in the order of groups and fill them
    begins = np.ones(len(group), dtype=bool)
    begins[1:] = (np.diff(group) != 0) | (np.diff(slide) != 0) | (np.diff(clusters) != 0)
    first = np.flatnonzero(begins)
    rows = np.diff(np.append(first, len(group)))
    part = clusters[first] * (int(slide.max(initial=0)) + 1) + slide[first]  # a slide's patches of a cluster
    return equal_sources(group[first], row[first], rows, clusters[first], part)

"""The patches of one class that a window needs, each readable: where one is not, another of its class stands in.

The stand-in is the next row of the row group, round and round; where the whole row group is bad, that of the next row
group from its first row on. That depends on the order and on what is unreadable alone, never on who reads or from which
step, so that a run is the same for any number of workers and after any restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyarrow import fs

from wsc_ray.errors import DataError, UserError
from wsc_ray.manifest import Manifest
from wsc_ray.pixels import Unreadable, to_image
from wsc_ray.pixels.retry import THREADS, read_all
from wsc_ray.pixels.sources import Fetched
from wsc_ray.stream.neighbours import COLUMNS, Neighbours
from wsc_ray.stream.plan import Group
from wsc_ray.stream.quarantine import Bad
from wsc_ray.stream.source import Source, blank_of, contents_of

_NAMES = ("slide_id", "x", "y")  # what a patch is known by
Place = tuple[int, int]  # group, an index into the class's, and row inside it
_Drawn = tuple[int, float]  # row inside a group, and the number that chooses its neighbour
_NOTHING: Mapping[int, Iterable[_Drawn]] = {}


@dataclass(frozen=True)
class Patch:
    """A patch with the row group it is of, and what was found bad on the way to it.

    Attributes:
        content: its image, (h, w, 3) uint8; of a feature store its views, (K, D) float16.
    """

    content: np.ndarray
    slide_id: str
    x: int
    y: int
    group: int
    bad: Sequence[Bad] = ()


class Patches:
    """One class in one window.

    Args:
        groups: row groups of the class.
        retries: see `read_all`.
        allowed: bad patches from which on no stand-in is sought: the run stops anyway, and a store that does not
            answer would be asked for every patch of the class. A patch of zeros is given then.
    """

    def __init__(
        self,
        manifest: Source,
        groups: Sequence[Group],
        *,
        retries: int,
        allowed: int,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.manifest, self.groups, self.allowed = manifest, groups, allowed
        self._retries, self._sleep = retries, sleep
        self._contents = contents_of(manifest, retries=retries, sleep=sleep)
        self._rows: dict[Place, dict[str, Any]] = {}  # names of the patches that have been loaded
        self._fetched: dict[Place, Fetched] = {}  # what they hold; images are decoded when they are needed
        self._reasons: dict[Place, str] = {}
        self._closed: dict[int, str] = {}  # row groups that cannot be read, and why
        self._told: set[Place] = set()
        self._neighbours: dict[tuple[int, int, float], int | None] = {}  # group, row and draw -> row
        self._asks_names = True
        self._ahead = 1
        self._example = blank_of(manifest)  # of what a row holds

    def fetch(self, picks: Iterable[Place], neighbours: Iterable[tuple[Place, float]] = ()) -> None:
        """Read the encoded patches at these places, each row group once.

        Args:
            neighbours: places of a neighbour each is read, too, and the numbers that choose it; see `neighbour`.
        """
        wanted: dict[int, set[int]] = {}
        for group, row in picks:
            wanted.setdefault(group, set()).add(row)
        drawn: dict[int, set[_Drawn]] = {}
        for (group, row), draw in neighbours:
            drawn.setdefault(group, set()).add((row, draw))
        self._load({group: sorted(rows) for group, rows in wanted.items()}, drawn)

    def neighbour(self, group: int, row: int, draw: float) -> Patch | None:
        """The neighbour that was read for the patch at a place; None where it has none, or one of the two cannot be read.

        Args:
            draw: as it was given to `fetch`.
        """
        other = self._neighbours.get((group, row, draw))
        if other is None or self._content((group, row)) is None:
            return None
        content = self._content((group, other))
        return None if content is None else self._patch(content, (group, other), ())

    def get(self, group: int, row: int) -> Patch:
        """The patch at a place, or the one that stands in for it. What is bad is told once a window, where it is met.

        Raises:
            DataError: no patch of the class can be read.
        """
        content = self._content((group, row))
        if content is not None:
            return self._patch(content, (group, row), ())
        bad: list[Bad] = []
        for place in self._from(group, row):
            content = self._content(place)
            if content is not None:
                return self._patch(content, place, bad)
            bad += self._tell(place)
            if len(self._told) > self.allowed:
                return Patch(np.zeros_like(self._example), "", 0, 0, group, bad)
        example = self._bad((group, row), self._rows.get((group, row), {}))
        rows = sum(group.rows for group in self.groups)
        raise DataError(
            f"none of the {rows:,} patches of a class can be read; mend the manifest; for example {example}"
        )

    def _from(self, group: int, row: int) -> Iterable[Place]:
        """Candidates in their order, loaded when they are come to: one, then two, then four ... at a time."""
        for turn in range(len(self.groups)):
            now = (group + turn) % len(self.groups)
            rows = self.groups[now].rows
            order = [(row + index) % rows for index in range(rows)] if turn == 0 else list(range(rows))
            if turn:
                self._open(now)
            begin, size = 0, 1
            while begin < rows and now not in self._closed:
                part = order[begin : begin + size]
                self._load({now: [r for r in part if (now, r) not in self._rows]})
                if now not in self._closed:
                    yield from ((now, r) for r in part)
                begin, size = begin + size, 2 * size
            if now in self._closed:
                yield now, 0

    def _open(self, group: int) -> None:
        """Read the first row of a row group; of twice as many that follow each time that this comes to a new one."""
        if (group, 0) in self._rows or group in self._closed:
            return
        following = {(group + index) % len(self.groups) for index in range(min(self._ahead, len(self.groups)))}
        self._load({g: [0] for g in following if (g, 0) not in self._rows and g not in self._closed})
        self._ahead *= 2

    def _load(self, wanted: Mapping[int, Sequence[int]], drawn: Mapping[int, Iterable[_Drawn]] = _NOTHING) -> None:
        wanted = {group: rows for group, rows in wanted.items() if rows}
        found, failed = read_all(
            wanted,
            lambda group: self._read(group, wanted[group], drawn.get(group, ())),
            self._retries,
            threads=1 if isinstance(self.manifest.filesystem, fs.LocalFileSystem) else THREADS,
            sleep=self._sleep,
        )
        self._closed |= failed
        loaded: dict[Place, dict[str, Any]] = {}
        for group, (rows, chosen) in found.items():
            loaded |= {(group, row): patch for row, patch in rows.items()}
            self._neighbours |= {(group, *each): other for each, other in chosen.items()}
        fetched = self._contents.fetch(list(loaded.values()))
        for (place, row), content in zip(loaded.items(), fetched, strict=True):
            self._rows[place] = {name: row[name] for name in _NAMES}
            if isinstance(content, Unreadable):
                self._reasons[place] = content.reason
            else:
                self._fetched[place] = content

    def _read(
        self, group: int, rows: Sequence[int], drawn: Iterable[_Drawn]
    ) -> tuple[dict[int, dict[str, Any]], dict[_Drawn, int | None]]:
        """These rows of a group and their neighbours, and which row is the neighbour of which."""
        where, drawn = self.groups[group], list(drawn)
        near: list[str] = []
        if drawn:
            assert isinstance(self.manifest, Manifest)  # a recipe with neighbours and features is refused
            near = [name for name in COLUMNS if name in self.manifest.columns]
        columns = list(dict.fromkeys([*_NAMES, *self._contents.columns, *near]))
        table = self.manifest.read_group(where.file, where.row_group, columns)
        chosen: dict[_Drawn, int | None] = {}
        if drawn:
            neighbours = Neighbours(table.select(near).slice(where.start, where.rows))
            chosen = {(row, draw): neighbours.choose(row, draw) for row, draw in drawn}
        rows = sorted({*rows, *(other for other in chosen.values() if other is not None)})
        found = table.take([where.start + row for row in rows]).to_pylist()
        return dict(zip(rows, found, strict=True)), chosen

    def _content(self, place: Place) -> np.ndarray | None:
        """The image or views; None where they cannot be had, with the reason kept."""
        if place[0] in self._closed or place in self._reasons:
            return None
        content = to_image(self._fetched[place])
        if isinstance(content, Unreadable):
            self._reasons[place] = content.reason
            return None
        self._example = content
        return content

    def _patch(self, content: np.ndarray, place: Place, bad: Sequence[Bad]) -> Patch:
        row = self._rows[place]
        return Patch(content, row["slide_id"], row["x"], row["y"], place[0], bad)

    def _tell(self, place: Place) -> list[Bad]:
        """The patch at a bad place, or every patch of a row group that cannot be read, unless told before."""
        group, _ = place
        if place in self._told:
            return []
        if group not in self._closed:
            self._told.add(place)
            return [self._bad(place, self._rows[place])]
        where = self.groups[group]
        self._told |= {(group, row) for row in range(where.rows)}
        names: list[dict[str, Any]] = [{}] * where.rows
        if self._asks_names:
            try:  # a damaged page may be one of the images', and the names beside it whole
                table = self.manifest.read_group(where.file, where.row_group, _NAMES)
                names = table.slice(where.start, where.rows).to_pylist()
            except UserError:
                self._asks_names = False  # a store that does not answer takes its time over each
        return [self._bad((group, row), name) for row, name in enumerate(names)]

    def _bad(self, place: Place, patch: Mapping[str, Any]) -> Bad:
        where = self.groups[place[0]]
        names = {name: patch.get(name) for name in _NAMES}
        reason = self._closed.get(place[0]) or self._reasons[place]
        return Bad(
            file=self.manifest.files[where.file],
            row_group=where.row_group,
            row=where.start + place[1],
            **names,
            reason=reason,
        )

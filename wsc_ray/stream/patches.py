"""Read the patches of one class that a window needs; a patch that cannot be read is replaced by a stand-in of its class.

The stand-in is the next readable row of the same group, continuing from its start after its end; where the whole group
is unreadable, it is the first readable row of the next group. The choice depends only on the order and on which rows are
unreadable, never on who reads or from which step, so that a run is the same for any number of workers and after any
restart.
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
from wsc_ray.stream.groups import Group
from wsc_ray.stream.neighbours import COLUMNS, Neighbours
from wsc_ray.stream.quarantine import Bad
from wsc_ray.stream.source import Source, blank_of, contents_of

_NAMES = ("slide_id", "x", "y")  # the columns that name a patch
Place = tuple[int, int]  # group (an index into the class's groups) and row inside it
_Drawn = tuple[int, float]  # row inside a group, and the random number that chooses its neighbour
_NOTHING: Mapping[int, Iterable[_Drawn]] = {}


@dataclass(frozen=True)
class Patch:
    """A patch that could be read.

    Attributes:
        content: its image, (h, w, 3) uint8; from a feature store its views, (K, D) float16.
        slide_id, x, y: its slide, and its top left corner in px of level 0.
        group: the group that holds it, an index into the class's groups.
        bad: unreadable patches that were met while looking for it.
    """

    content: np.ndarray
    slide_id: str
    x: int
    y: int
    group: int
    bad: Sequence[Bad] = ()


class Patches:
    """The patches of one class in one window.

    Args:
        groups: groups of the class.
        retries: see `read_all`.
        near: whether neighbours are asked for. The columns that decide them are then read with every row, so that which rows can be
            read does not depend on who asks for neighbours.
        allowed: number of bad patches above which `get` looks for no stand-in and returns a patch of zeros: the run
            stops anyway, and a store that does not answer would be asked for every patch of the class.
    """

    def __init__(
        self,
        source: Source,
        groups: Sequence[Group],
        *,
        retries: int,
        allowed: int,
        near: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.source, self.groups, self.allowed = source, groups, allowed
        self._retries, self._sleep = retries, sleep
        self._near: list[str] = []
        if near:
            assert isinstance(source, Manifest)  # a recipe with neighbours and features is refused
            self._near = [name for name in COLUMNS if name in source.columns]
        self._contents = contents_of(source, retries=retries, sleep=sleep)
        self._rows: dict[Place, dict[str, Any]] = {}  # `_NAMES` of the patches that have been loaded
        self._fetched: dict[Place, Fetched] = {}  # their contents; images are decoded when they are needed
        self._reasons: dict[Place, str] = {}  # why a patch cannot be read
        self._closed: dict[int, str] = {}  # why a whole group cannot be read
        self._reported: set[Place] = set()
        self._neighbours: dict[tuple[int, int, float], int | None] = {}  # (group, row, draw) -> the neighbour's row
        self._reads_names = True  # whether to read the names of the patches of a group that cannot be read
        self._ahead = 1  # groups to open at once
        self._example = blank_of(source)  # a content, for the shape of patches of zeros

    def fetch(self, picks: Iterable[Place], neighbours: Iterable[tuple[Place, float]] = ()) -> None:
        """Read the encoded patches at these places, each group once.

        Args:
            neighbours: places of patches whose neighbours are read too, each with the number that chooses the neighbour.
        """
        wanted: dict[int, set[int]] = {}
        for group, row in picks:
            wanted.setdefault(group, set()).add(row)
        drawn: dict[int, set[_Drawn]] = {}
        for (group, row), draw in neighbours:
            drawn.setdefault(group, set()).add((row, draw))
        self._load({group: sorted(rows) for group, rows in wanted.items()}, drawn)

    def neighbour(self, group: int, row: int, draw: float) -> Patch | None:
        """Return the neighbour of the patch at a place; None if there is none, or one of the two cannot be read.

        Call it after `get` of the same place, which finds out whether that patch can be read.

        Args:
            draw: the number that `fetch` got for it.
        """
        other = self._neighbours.get((group, row, draw))
        if other is None or group in self._closed or (group, row) in self._reasons:
            return None
        content = self._content((group, other))
        return None if content is None else self._patch(content, (group, other), ())

    def get(self, group: int, row: int) -> Patch:
        """Return the patch at a place, or its stand-in.

        `Patch.bad` reports each bad patch once a window, with the first patch that meets it.

        Raises:
            DataError: no patch of the class can be read.
        """
        content = self._content((group, row))
        if content is not None:
            return self._patch(content, (group, row), ())
        bad: list[Bad] = []
        for place in self._candidates(group, row):
            content = self._content(place)
            if content is not None:
                return self._patch(content, place, bad)
            bad += self._report(place)
            if len(self._reported) > self.allowed:
                return Patch(np.zeros_like(self._example), "", 0, 0, group, bad)
        example = self._bad((group, row), self._rows.get((group, row), {}))
        rows = sum(group.rows for group in self.groups)
        raise DataError(
            f"none of the {rows:,} patches of a class can be read; mend the manifest; for example {example}"
        )

    def _candidates(self, group: int, row: int) -> Iterable[Place]:
        """Yield the places that may stand in, in order; their rows are loaded one, then two, then four ... at a time."""
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
        """Read the first row of a group, unless it is loaded; each further call reads twice as many groups at once."""
        if (group, 0) in self._rows or group in self._closed:
            return
        following = {(group + index) % len(self.groups) for index in range(min(self._ahead, len(self.groups)))}
        self._load({g: [0] for g in following if (g, 0) not in self._rows and g not in self._closed})
        self._ahead *= 2

    def _load(self, wanted: Mapping[int, Sequence[int]], drawn: Mapping[int, Iterable[_Drawn]] = _NOTHING) -> None:
        wanted = {group: rows for group, rows in wanted.items() if rows}
        read, failed = read_all(
            wanted,
            lambda group: self._read(group, wanted[group], drawn.get(group, ())),
            self._retries,
            threads=1 if isinstance(self.source.filesystem, fs.LocalFileSystem) else THREADS,
            sleep=self._sleep,
        )
        self._closed |= failed
        loaded: dict[Place, dict[str, Any]] = {}
        for group, (rows, chosen) in read.items():
            loaded |= {(group, row): patch for row, patch in rows.items()}
            self._neighbours |= {(group, *drawn_row): other for drawn_row, other in chosen.items()}
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
        """Return these rows of a group and the rows of their neighbours, and which row is the neighbour of which."""
        where, drawn = self.groups[group], list(drawn)
        columns = list(dict.fromkeys([*_NAMES, *self._contents.columns, *self._near]))
        table = self.source.read_group(where.file, where.row_group, columns)
        chosen: dict[_Drawn, int | None] = {}
        if drawn:
            neighbours = Neighbours(table.select(self._near).slice(where.start, where.rows))
            chosen = {(row, draw): neighbours.choose(row, draw) for row, draw in drawn}
        rows = sorted({*rows, *(other for other in chosen.values() if other is not None)})
        patches = table.take([where.start + row for row in rows]).to_pylist()
        return dict(zip(rows, patches, strict=True)), chosen

    def _content(self, place: Place) -> np.ndarray | None:
        """Return the image or views at a place; None where they cannot be read, with the reason in `_reasons`."""
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

    def _report(self, place: Place) -> list[Bad]:
        """Return the bad patch at a place, or every patch of a group that cannot be read; none if reported before."""
        group, _ = place
        if place in self._reported:
            return []
        if group not in self._closed:
            self._reported.add(place)
            return [self._bad(place, self._rows[place])]
        where = self.groups[group]
        self._reported |= {(group, row) for row in range(where.rows)}
        names: list[dict[str, Any]] = [{}] * where.rows
        if self._reads_names:
            try:  # the damaged page may hold images, and the pages of the names may be whole
                table = self.source.read_group(where.file, where.row_group, _NAMES)
                names = table.slice(where.start, where.rows).to_pylist()
            except UserError:
                self._reads_names = False  # a store that does not answer would take its time over each group
        return [self._bad((group, row), name) for row, name in enumerate(names)]

    def _bad(self, place: Place, patch: Mapping[str, Any]) -> Bad:
        where = self.groups[place[0]]
        names = {name: patch.get(name) for name in _NAMES}
        reason = self._closed.get(place[0]) or self._reasons[place]
        return Bad(
            file=self.source.files[where.file],
            row_group=where.row_group,
            row=where.start + place[1],
            **names,
            reason=reason,
        )

"""Decoded tiles that regions to come need again, within a limit."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable

import numpy as np

BYTES = 128 << 20  # a row of tiles of 256 px across 170,000 px: more than slides are wide


class TileCache:
    """The tiles that were used last, up to `limit` bytes; those of a plan go as soon as it needs them no more.

    Attributes:
        bytes: that it holds.
        limit: bytes; a tile that is larger is not kept.
    """

    def __init__(self, limit: int = BYTES):
        self.limit, self.bytes = limit, 0
        self._tiles: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._uses: Counter[Hashable] = Counter()

    def plan(self, keys: Iterable[Hashable]) -> None:
        """What will be used in all, a key for each use; an earlier plan is forgotten."""
        self._uses = Counter(keys)

    def get(self, key: Hashable, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The tile of that key, decoded where it is not kept."""
        tile = self._tiles.pop(key, None)
        if tile is None:
            tile = decode()
        else:
            self.bytes -= tile.nbytes
        self._tiles[key] = tile
        self.bytes += tile.nbytes
        while self.bytes > self.limit:
            self._drop(next(iter(self._tiles)))
        return tile

    def used(self, keys: Iterable[Hashable]) -> None:
        """One use of each of these is over."""
        for key in keys:
            self._uses[key] -= 1
            if self._uses[key] <= 0:
                del self._uses[key]
                self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        self._tiles.clear()
        self._uses.clear()
        self.bytes = 0

    def _drop(self, key: Hashable) -> None:
        tile = self._tiles.pop(key, None)
        if tile is not None:
            self.bytes -= tile.nbytes

"""A cache of decoded tiles that later regions need again, within a limit of memory."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable

import numpy as np

BYTES = 128 << 20  # a row of tiles of 256 px across 170,000 px, more than the width of a slide


class TileCache:
    """Keeps the tiles that were used last, up to `limit` bytes; tiles of a plan are dropped after their last use.

    Attributes:
        bytes: size of the kept tiles.
        limit: largest `bytes`; a larger tile is not kept.
    """

    def __init__(self, limit: int = BYTES):
        self.limit, self.bytes = limit, 0
        self._tiles: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._uses: Counter[Hashable] = Counter()

    def plan(self, keys: Iterable[Hashable]) -> None:
        """Set the plan of all uses to come, a key for each use; it replaces an earlier plan."""
        self._uses = Counter(keys)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tiles

    def get(self, key: Hashable, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the tile of a key, decoded if it is not kept."""
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
        """Count one use of each key as done, and drop tiles without further uses."""
        for key in keys:
            self._uses[key] -= 1
            if self._uses[key] <= 0:
                del self._uses[key]
                self._drop(key)

    def clear(self) -> None:
        """Drop all tiles and the plan."""
        self._tiles.clear()
        self._uses.clear()
        self.bytes = 0

    def _drop(self, key: Hashable) -> None:
        tile = self._tiles.pop(key, None)
        if tile is not None:
            self.bytes -= tile.nbytes

"""`stored-tiles`: decodes each stored JPEG tile of a tiled TIFF once, and leaves the rest to OpenSlide.

OpenSlide opens the file and gives its levels. If a level is a plain grid of JPEG tiles, tifffile finds the tiles, libjpeg-turbo
decodes them, and a cache keeps them as long as later regions need them. OpenSlide reads everything else: other formats and
compressions, tiles that overlap, and tiles that Aperio's scanners left out of a smaller level.

Pixels are those of OpenSlide, bit for bit, if a region begins on a px of its level, as it always does at level 0. Elsewhere both
readers interpolate between neighbours, and a value may differ by `TOLERANCE`, on the last px of a level by one more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.files import first_line
from wsc_ray.slides.jpeg_tiles import decode_tile
from wsc_ray.slides.objects import TiffObject
from wsc_ray.slides.ranges import FileRanges, Ranges
from wsc_ray.slides.readers.openslide import OpenSlideSlide
from wsc_ray.slides.slide import READERS, Region, Slide
from wsc_ray.slides.tiff_levels import TiledLevel, tiled_levels
from wsc_ray.slides.tile_cache import TileCache
from wsc_ray.storage import AnyPath, StoragePath

TOLERANCE = 2  # of 255, where a region begins between two px of its level
_GRIDS = ("aperio", "generic-tiff", "philips")  # vendors whose levels are plain grids of tiles to OpenSlide
_BLOCK = 4096  # px of a level that OpenSlide reads at a time; it rounds the corner of each block to a px of level 0
_EXACT = 256  # cairo counts positions in so many parts of a px
_LOT = 64  # regions for which an object's tiles are fetched at a time
_STORED = 4  # largest number of bytes per px of a JPEG tile; noise takes about two

_Key = tuple[int, int, int]  # level, and column and row of the tile


@READERS.register("stored-tiles")
class StoredTilesSlide(OpenSlideSlide):
    """A slide whose stored tiles are decoded once."""

    package, title, extra = "tifffile", "tifffile with OpenSlide", "slides"

    _source: Ranges | None = None  # while it is not open

    @classmethod
    def installed(cls) -> bool:
        return super().installed() and OpenSlideSlide.installed()

    def __init__(self, path: Path, source: TiffObject | None = None, named: AnyPath | None = None):
        """Open a slide.

        Args:
            source: where the tiles are, if `path` is only the head of an object.
            named: as in `OpenSlideSlide`.
        """
        super().__init__(path, named)
        self._by_range = source is not None
        try:
            self._levels = self._tiled_levels()
            self._cache = TileCache()
            self._source = source or FileRanges(path)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_object(cls, path: StoragePath) -> Slide | None:
        source = TiffObject(path)
        if source.head is None:
            source.close()
            return None
        try:
            slide = cls(source.head, source, path)
        except DataError:  # OpenSlide needs more of the file than its tags
            source.close()
            return None
        pairs = zip(slide._levels, slide.downsamples, strict=True)
        if all(level is not None or math.isinf(downsample) for level, downsample in pairs):
            return slide
        slide.close()
        return None

    def read(self, x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
        region = Region(x, y, level, width, height)
        if not self._stored(region):
            if self._by_range:
                raise DataError(f"the region at {x}, {y} begins outside of {self._named}")
            return super().read(*region)
        if max(width, height) <= _BLOCK:
            return self._read_block(region)
        pixels = np.empty((height, width, 3), np.uint8)
        down = self._level_downsamples[level]
        for top in range(0, height, _BLOCK):
            for left in range(0, width, _BLOCK):
                w, h = min(_BLOCK, width - left), min(_BLOCK, height - top)
                block = Region(int(x + left * down), int(y + top * down), level, w, h)
                pixels[top : top + h, left : left + w] = self._read_block(block)
        return pixels

    def read_regions(self, regions: Sequence[Region]) -> Iterator[np.ndarray | DataError]:
        keys = [self._keys(region) if self._stored(region) else [] for region in regions]
        self._cache.plan(key for each in keys for key in each)
        for start in range(0, len(regions), _LOT):
            lot = slice(start, start + _LOT)
            self._expect(key for each in keys[lot] for key in each)
            for pixels, over in zip(super().read_regions(regions[lot]), keys[lot], strict=True):
                yield pixels
                self._cache.used(over)

    def close(self) -> None:
        super().close()
        if self._source is not None:
            self._source.close()
            self._source = None
            self._cache.clear()

    def _tiled_levels(self) -> list[TiledLevel | None]:
        if self._vendor not in _GRIDS:
            return [None] * len(self._level_sizes)
        aperio, philips = self._vendor == "aperio", self._vendor == "philips"
        levels = tiled_levels(self._path, self._level_sizes, padded=philips, reduced=not (aperio or philips))
        if aperio and any(each is not None and not each.complete for each in levels):
            # OpenSlide replaces tiles that Aperio's scanners left out by pixels of the level before.
            levels[1:] = [None] * (len(levels) - 1)
        return levels

    def _stored(self, region: Region) -> bool:
        """Return whether a region is read from stored tiles, some of which may be missing."""
        return self._levels[region.level] is not None and region.x >= 0 and region.y >= 0

    def _start(self, region: Region) -> tuple[int, int, float, float]:
        """Return the px of its level (x, y) at which a region begins, and the offset behind this px (x, y), in [0, 1) px."""
        at: list[int] = []
        behind: list[float] = []
        for place in (region.x, region.y):
            whole = math.floor(place / self._level_downsamples[region.level])
            rest = place / self._level_downsamples[region.level] - whole
            parts = round(rest * _EXACT)
            at.append(whole + (parts == _EXACT))
            behind.append(0.0 if parts in (0, _EXACT) else rest)
        return at[0], at[1], behind[0], behind[1]

    def _keys(self, region: Region) -> list[_Key]:
        """Return the keys of the tiles under a region."""
        tiled = self._levels[region.level]
        assert tiled is not None
        left, top, *behind = self._start(region)
        width, height = tiled.tile
        right, bottom = left + region.width + (behind[0] > 0), top + region.height + (behind[1] > 0)
        columns = range(left // width, min(tiled.across, -(-right // width)))
        rows = range(top // height, min(tiled.down, -(-bottom // height)))
        return [(region.level, column, row) for row in rows for column in columns]

    def _read_block(self, region: Region) -> np.ndarray:
        left, top, right_share, lower_share = self._start(region)
        width, height = region.width, region.height
        if not (right_share or lower_share):
            return self._paste(region, left, top, width, height)
        pixels = self._paste(region, left, top, width + 1, height + 1)
        across, down = (np.array([1 - share, share]) for share in (right_share, lower_share))
        between = np.asarray(cv2.sepFilter2D(pixels, -1, across, down, anchor=(0, 0)))
        return np.ascontiguousarray(between[:height, :width])

    def _paste(self, region: Region, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return `width` x `height` px of a level from (left, top) on, pasted from its tiles; white beyond the level's edge."""
        tiled = self._levels[region.level]
        assert tiled is not None
        tile_width, tile_height = tiled.tile
        edge = (
            min(left + width, self._level_sizes[region.level][0]),
            min(top + height, self._level_sizes[region.level][1]),
        )
        pixels = np.empty((height, width, 3), np.uint8)
        if not tiled.complete or edge != (left + width, top + height):
            pixels.fill(255)
        keys = self._keys(region)
        self._expect(keys)
        for key in keys:
            _, column, row = key
            if not tiled.counts[row * tiled.across + column]:
                continue
            tile = self._cache.get(key, partial(self._decode, key))
            x, y = column * tile_width, row * tile_height
            x0, y0 = max(left, x), max(top, y)
            x1, y1 = min(edge[0], x + tile_width), min(edge[1], y + tile_height)
            if x1 > x0 and y1 > y0:
                pixels[y0 - top : y1 - top, x0 - left : x1 - left] = tile[y0 - y : y1 - y, x0 - x : x1 - x]
        return pixels

    def _expect(self, keys: Iterable[_Key]) -> None:
        """Prepare for reading tiles that are not in the cache."""
        if self._by_range:
            assert self._source is not None
            ranges = (self._range(key) for key in keys if key not in self._cache)
            self._source.expect((offset, count) for offset, count, most in ranges if 0 < count <= most)

    def _range(self, key: _Key) -> tuple[int, int, int]:
        """Return the offset and the length of a tile in the file, and the largest length that it can have, bytes."""
        level, column, row = key
        tiled = self._levels[level]
        assert tiled is not None
        number = row * tiled.across + column
        most = max(_STORED * tiled.tile[0] * tiled.tile[1], 1 << 16)
        return int(tiled.offsets[number]), int(tiled.counts[number]), most

    def _decode(self, key: _Key) -> np.ndarray:
        level, column, row = key
        tiled, source = self._levels[level], self._source
        assert tiled is not None
        assert source is not None
        offset, count, most = self._range(key)
        where = f"tile {column}, {row} of level {level} of {self._named.name}"
        if offset < 0 or offset + count > source.size:
            raise DataError(f"{where} lies beyond the end of the file, which was cut short or damaged")
        if count > most:
            raise DataError(f"{where} claims {count:,} bytes, more than a JPEG of its size can have")
        try:
            return decode_tile(source.read(offset, count), tiled.tables, tiled.colours, tiled.tile)
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror or first_line(error)}") from error
        except DataError as error:
            raise DataError(f"{where} cannot be read: {error}") from None

"""The cache of decoded tiles, and JPEGs put together from parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.errors import DataError
from wsc_ray.slides.jpeg_tiles import RGB, decode_tile
from wsc_ray.slides.tile_cache import TileCache

TILE = np.zeros(100, np.uint8)


class Counting:
    def __init__(self):
        self.decoded = 0

    def __call__(self) -> np.ndarray:
        self.decoded += 1
        return TILE.copy()


def test_the_longest_unused_goes_first():
    cache, decode = TileCache(250), Counting()
    for key in "abac":
        cache.get(key, decode)
    assert (decode.decoded, cache.bytes) == (3, 200)
    cache.get("a", decode)
    assert decode.decoded == 3, "b went"
    cache.get("b", decode)
    assert decode.decoded == 4


def test_what_a_plan_needs_no_more_goes():
    cache, decode = TileCache(1000), Counting()
    cache.plan("aab")
    for key in "aab":
        cache.get(key, decode)
        cache.used(key)
    assert (decode.decoded, cache.bytes) == (2, 0)


@given(st.lists(st.integers(0, 9)), st.integers(0, 500))
def test_it_holds_no_more_than_its_limit(keys, limit):
    cache = TileCache(limit)
    for key in keys:
        assert cache.get(key, lambda: TILE.copy()).nbytes == 100
        assert cache.bytes <= limit
    cache.clear()
    assert cache.bytes == 0


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data):
    for start in (b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03"):
        with pytest.raises(DataError):
            decode_tile(start + data, b"", RGB, (16, 16))

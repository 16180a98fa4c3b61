"""Retries where storage fails for a while, tested without storage."""

import pytest

from wsc_ray.errors import DataError
from wsc_ray.pixels.retry import read_all


class Storage:
    """Gives a key's own name, after `failures[key]` errors."""

    def __init__(self, error=OSError, **failures):
        self.error, self.failures, self.calls, self.waits = error, failures, [], []

    def read(self, key):
        self.calls.append(key)
        if self.failures.get(key, 0) > self.calls.count(key) - 1:
            raise self.error(f"{key} is away")
        return key

    def read_all(self, keys, retries):
        return read_all(keys, self.read, retries, sleep=self.waits.append)


def test_what_comes_back_is_read_and_everything_waits_together():
    storage = Storage(b=1, c=3, d=3)
    found, failed = storage.read_all("abcd", 4)
    assert list(found.items()) == [(key, key) for key in "abcd"]
    assert failed == {}
    assert storage.waits == [0.5, 1, 2]  # however many failed
    assert [storage.calls.count(key) for key in "abcd"] == [1, 2, 4, 4]


def test_what_stays_away_is_given_up_with_its_reason():
    storage = Storage(b=99)
    assert storage.read_all("ab", 3) == ({"a": "a"}, {"b": "b is away"})
    assert storage.waits == [0.5, 1, 2]
    assert storage.read_all("", 3) == ({}, {})


def test_without_retries_nothing_waits():
    storage = Storage(FileNotFoundError, a=1)
    assert storage.read_all("a", 0) == ({}, {"a": "a is away"})
    assert storage.waits == []


def test_only_storage_is_tried_again():
    storage = Storage(DataError, a=1)
    assert storage.read_all("a", 4) == ({}, {"a": "a is away"})
    assert storage.waits == []

    def read(key):
        try:
            raise ConnectionResetError
        except OSError:
            raise DataError("cannot be read") from None

    assert read_all("a", read, 2, sleep=storage.waits.append) == ({}, {"a": "cannot be read"})
    assert storage.waits == [0.5, 1]


def test_our_own_mistakes_are_not_caught():
    with pytest.raises(KeyError):
        Storage(KeyError, a=1).read_all("a", 4)

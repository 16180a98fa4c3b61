"""Reading from storage that may be slow or fail for a while.

Everything that failed is tried again together, so that a window with many missing objects waits some seconds in all
and not some seconds for each. Only storage is tried again: what came and cannot be used will not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from wsc_ray.errors import UserError

THREADS = 16  # storage far away is waited for, not worked on
FIRST_WAIT = 0.5  # seconds; doubled for each further try

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def read_all(
    keys: Iterable[Key],
    read: Callable[[Key], Value],
    retries: int,
    *,
    threads: int = THREADS,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[dict[Key, Value], dict[Key, str]]:
    """What `read` gives for each key, and the reasons for those that it cannot read.

    Args:
        read: raises OSError, or a UserError; that is tried again where an OSError led to it.
        retries: further tries, after 0.5, 1, 2, 4, ... seconds.
        threads: that read at a time.

    Returns:
        key -> value, in the order of `keys`, and key -> reason; every key is in one of them.
    """
    keys = list(dict.fromkeys(keys))
    found: dict[Key, Value] = {}
    failed: dict[Key, Exception] = {}
    waiting = keys
    with ThreadPoolExecutor(threads) as pool:
        attempts = pool.map if threads > 1 else map
        for attempt in range(retries + 1):
            if attempt:
                sleep(FIRST_WAIT * 2 ** (attempt - 1))
            for key, answer in zip(waiting, attempts(lambda key: _tried(read, key), waiting), strict=True):
                if isinstance(answer, _Failure):
                    failed[key] = answer.error
                else:
                    found[key] = answer
                    failed.pop(key, None)
            waiting = [key for key, error in failed.items() if _may_pass(error)]
            if not waiting:
                break
    return {key: found[key] for key in keys if key in found}, {key: _reason(failed[key]) for key in failed}


@dataclass(frozen=True)
class _Failure:
    error: Exception


def _tried(read: Callable[[Key], Value], key: Key) -> Value | _Failure:
    try:
        return read(key)
    except (OSError, UserError) as error:
        return _Failure(error)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, OSError) or isinstance(error.__context__, OSError)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

"""Read many keys from storage that may be slow or fail for a while.

All failed reads are tried again together, so that a window with many missing objects waits some seconds in all and not
some seconds for each. Only errors of storage are tried again: content that arrived and cannot be used will not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from wsc_ray.errors import UserError

THREADS = 16  # more than cores, since reading from remote storage is mostly waiting
FIRST_WAIT = 0.5  # seconds; doubled for each further retry

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
    """Return the result of `read` for each key, and the reasons for keys that cannot be read.

    Args:
        read: may raise OSError, which is tried again, or a UserError, which is tried again if an OSError caused it.
        retries: number of retries, after 0.5, 1, 2, 4, ... seconds.
        threads: number of threads that read at a time.
        sleep: waits some seconds.

    Returns:
        key -> value, in the order of `keys`, and key -> reason; every key is in one of them.
    """
    keys = list(dict.fromkeys(keys))
    values: dict[Key, Value] = {}
    failed: dict[Key, Exception] = {}
    waiting = keys
    with ThreadPoolExecutor(threads) as pool:
        attempts = pool.map if threads > 1 else map
        for attempt in range(retries + 1):
            if attempt:
                sleep(FIRST_WAIT * 2 ** (attempt - 1))
            for key, result in zip(waiting, attempts(lambda key: _try(read, key), waiting), strict=True):
                if isinstance(result, _Failure):
                    failed[key] = result.error
                else:
                    values[key] = result
                    failed.pop(key, None)
            waiting = [key for key, error in failed.items() if _may_pass(error)]
            if not waiting:
                break
    return {key: values[key] for key in keys if key in values}, {key: _reason(failed[key]) for key in failed}


@dataclass(frozen=True)
class _Failure:
    error: Exception


def _try(read: Callable[[Key], Value], key: Key) -> Value | _Failure:
    try:
        return read(key)
    except (OSError, UserError) as error:
        return _Failure(error)


def _may_pass(error: Exception) -> bool:
    """Return whether an error comes from storage, so that a retry may succeed."""
    return isinstance(error, OSError) or isinstance(error.__context__, OSError)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

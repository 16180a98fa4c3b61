"""Slides that stay open between one use and the next: opening one reads all of its tags."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsc_ray.errors import DataError
from wsc_ray.slides.slide import Slide, choose_reader, open_slide

KEPT = 8  # open while nobody uses them
USED = 4  # at a time: each may hold decoded tiles, see `tile_cache`

_Key = tuple[Path, int, int]  # path, bytes and time of the last change: a file that was replaced is opened anew


class OpenSlides:
    """Open slides of one process, which its threads share; each is used by one of them at a time.

    Args:
        kept: how many stay open while nobody uses them; the one that was used longest ago is closed first.
        used: how many are used at a time; further threads wait.
    """

    def __init__(self, kept: int = KEPT, used: int = USED):
        self._kept = kept
        self._turns = threading.Semaphore(used)
        self._lock = threading.Lock()
        self._idle: list[tuple[_Key, Slide]] = []

    @contextmanager
    def slide(self, path: Path) -> Iterator[Slide]:
        """The open slide of that path.

        Raises:
            DataError: it is missing or cannot be opened.
            OSError: storage fails.
        """
        with self._turns:
            key = _key(path)
            slide = self._take(key) or open_slide(path, choose_reader("auto"))
            try:
                yield slide
            except BaseException:
                slide.close()
                raise
            self._give_back(key, slide)

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, slide in idle:
            slide.close()

    def _take(self, key: _Key) -> Slide | None:
        with self._lock:
            for place, (other, slide) in enumerate(self._idle):
                if other == key:
                    del self._idle[place]
                    return slide
        return None

    def _give_back(self, key: _Key, slide: Slide) -> None:
        with self._lock:
            self._idle.append((key, slide))
            over = [self._idle.pop(0) for _ in range(len(self._idle) - self._kept)]
        for _, oldest in over:
            oldest.close()


def _key(path: Path) -> _Key:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None
    return path, found.st_size, found.st_mtime_ns

"""Slides that stay open between uses, since opening a slide reads all of its tags."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.ranges import Stamp, stamp_of
from wsc_ray.slides.slide import Slide, choose_reader
from wsc_ray.storage import AnyPath

KEPT = 8  # slides that stay open while they are not in use
USED = 4  # slides in use at a time: each may hold decoded tiles, see `tile_cache`

_Key = tuple[AnyPath, Stamp]  # so that a replaced file is opened anew


class OpenSlides:
    """Open slides of a process, shared by its threads; a slide is used by one thread at a time.

    Args:
        kept: number of slides that stay open while they are not in use; the one used longest ago is closed first.
        used: number of slides in use at a time; further threads wait.
    """

    def __init__(self, kept: int = KEPT, used: int = USED):
        self._kept = kept
        self._turns = threading.Semaphore(used)
        self._lock = threading.Lock()
        self._idle: list[tuple[_Key, Slide]] = []

    @contextmanager
    def slide(self, path: AnyPath) -> Iterator[Slide]:
        """Lend the open slide at a path to the calling thread.

        Raises:
            DataError: the slide is missing or cannot be opened.
            OSError: the storage fails.
        """
        with self._turns:
            key = path, stamp_of(path)
            slide = self._take(key) or open_slide(path, choose_reader("auto"))
            try:
                yield slide
            except BaseException:
                slide.close()
                raise
            self._give_back(key, slide)

    def close(self) -> None:
        """Close the slides that are not in use."""
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

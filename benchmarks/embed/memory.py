"""The memory of the process that starts `embed` and gives out the work, by how many patches a manifest has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from wsc_ray.commands import embed

EVERY = 0.1  # seconds between looks at memory


def embed_and_watch(manifest: Path, encoder: Path, out: Path) -> dict[str, Any]:
    """Embed a manifest with `wsc-ray embed` on this machine.

    Returns:
        `patches`, `seconds`, and `peak_mb`: this process's largest resident set meanwhile, MB.
    """
    settings = [f"tracking.uri=sqlite:///{out}.db", "embed.workers=1"]
    with Peak() as peak:
        summary = embed(manifest=str(manifest), encoder=encoder, out=out, overrides=settings)
    return {"patches": summary["patches"], "seconds": summary["seconds"], "peak_mb": peak.bytes / 1e6}


class Peak:
    """Looks at this process's resident set while its block runs, in a thread.

    Attributes:
        bytes: the largest resident set so far.
    """

    def __init__(self, resident: Callable[[], int] | None = None):
        self.bytes = 0
        self._resident = resident or (lambda: psutil.Process().memory_info().rss)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.bytes = max(self.bytes, self._resident())
            if self._ended.wait(EVERY):
                return

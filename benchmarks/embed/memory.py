"""The memory of the process that starts `embed` and gives out the work, by how many patches a manifest has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.memory import Looks
from wsc_ray.commands import embed

EVERY = 0.1  # seconds between looks at memory


def embed_and_watch(manifest: Path, encoder: Path, out: Path) -> dict[str, Any]:
    """Embed a manifest with `wsc-ray embed` on this machine.

    Returns:
        `patches`, `seconds`, and `peak_mb`: this process's largest resident set meanwhile, MB.
    """
    settings = [f"tracking.uri=sqlite:///{out}.db", "embed.workers=1"]
    peak = Peak(lambda: psutil.Process().memory_info().rss)
    with Looks(peak.look, EVERY):
        summary = embed(manifest=str(manifest), encoder=encoder, out=out, overrides=settings)
    return {"patches": summary["patches"], "seconds": summary["seconds"], "peak_mb": peak.bytes / 1e6}


class Peak:
    """The largest size that was seen.

    Attributes:
        bytes: the largest so far.
    """

    def __init__(self, resident: Callable[[], int]):
        self.bytes = 0
        self._resident = resident

    def look(self) -> None:
        """See how large it is now."""
        self.bytes = max(self.bytes, self._resident())

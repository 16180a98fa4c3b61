"""Helpers that the parts share: their command line, timing on the device, and the file of a result."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions

MEANINGLESS = "No GPU, or --quick: every part runs with tiny sizes, and its figures mean nothing."
PACKAGES = ("torch", "torchvision", "timm", "triton", "numpy", "opencv-python-headless", "simplejpeg", "pyarrow")


@dataclass(frozen=True)
class Part:
    """One part as its process sees it.

    Attributes:
        device: where it computes.
        quick: whether sizes are tiny.
        data: a file of patches, where one was given.
        limit: seconds after which the process is ended.
    """

    name: str
    out: Path
    device: torch.device
    quick: bool
    data: Path | None
    limit: float

    def write(self, result: Mapping[str, Any]) -> None:
        """Write what was measured so far; a part that is ended at its limit leaves its last word."""
        (self.out / f"{self.name}.json").write_text(json.dumps(result, indent=2) + "\n")

    def seconds(self, function: Callable[[], object], *, rounds: int = 10, warm_up: int = 3) -> float:
        """The median seconds of a call, over `rounds` of them; waits for the device around each."""
        for _ in range(1 if self.quick else warm_up):
            function()
        samples = []
        for _ in range(2 if self.quick else rounds):
            self.wait()
            started = time.perf_counter()
            function()
            self.wait()
            samples.append(time.perf_counter() - started)
        return statistics.median(samples)

    def wait(self) -> None:
        """Return once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_bytes(self, function: Callable[[], object]) -> int | None:
        """Bytes of device memory that a call needs beyond what is allocated before it; None on a CPU."""
        if self.device.type != "cuda":
            return None
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        self.wait()
        return torch.cuda.max_memory_allocated() - before


def open_part(name: str) -> Part:
    """The part that this process runs, by its command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=float, default=600.0)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    return Part(name, options.out, device, options.quick, options.data, options.limit)


def describe() -> dict[str, Any]:
    """The machine, its card and the versions that the figures are of."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        **describe_machine(usable_cores()),
        "card": card,
        "cuda": torch.version.cuda if card else None,
        "commit": commit(),
        "versions": versions(PACKAGES),
    }

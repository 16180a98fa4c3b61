"""A search with many trials: trials per minute, and whether the memory of the driver and the workers grows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.memory import Looks
from wsc_ray.features.store import SlideFeatures, write_slide, write_slides
from wsc_ray.mil.search import search_head
from wsc_ray.recipe.reading import validate_recipe

SLIDES, PATCHES, FEATURES, EPOCHS = 64, (50, 200), 128, 10
EVERY = 0.5  # seconds between looks at memory
FLAT = 0.10  # how much the last quarter may be above the second: the first has imports


def measure_search(trials: int) -> dict[str, Any]:
    """Search so many settings of a made-up cohort, on this machine.

    Returns:
        `trials`, `seconds`, `per_minute`, and for `driver` and `workers` the median resident set, MB, of the `second` and of the
        `last` quarter of the search, with their `growth`.
    """
    with tempfile.TemporaryDirectory(prefix="wsc-ray-bench-") as folder:
        features = write_cohort(Path(folder) / "features")
        values = {
            "tune": {"trials": trials, "epochs": EPOCHS, "seeds": 1, "heads": ["abmil", "mean"]},
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "model": None},
        }
        recipe = validate_recipe(values, source="benchmark")
        samples = Samples()
        with Looks(samples.look, EVERY):
            started = time.monotonic()
            search_head(features=features, out=Path(folder) / "mil", recipe=recipe)
            seconds = time.monotonic() - started
    memory = {name: growth(seen) for name, seen in samples.of.items()}
    return {"trials": trials, "seconds": seconds, "per_minute": 60 * trials / seconds, **memory}


def growth(samples: Sequence[float]) -> dict[str, float]:
    """The medians of the second and of the last quarter of samples in MB, and by how much the latter is above the former."""
    quarter = max(1, len(samples) // 4)
    second, last = (statistics.median(part) for part in (samples[quarter : 2 * quarter] or samples, samples[-quarter:]))
    return {"second": second, "last": last, "growth": last / second - 1}


class Samples:
    """The resident sets of this process and of the trials' processes, MB, over a search.

    Attributes:
        of: `driver`, and `workers`, the mean over them, each time that there were any.
    """

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {"driver": [], "workers": []}

    def look(self) -> None:
        """Add how large they are now."""
        driver = psutil.Process()
        workers = [rss for process in driver.children(recursive=True) if (rss := _of_trial(process)) is not None]
        if workers:
            self.of["workers"].append(statistics.mean(workers))
            self.of["driver"].append(driver.memory_info().rss / 1e6)


def _of_trial(process: psutil.Process) -> float | None:
    """The resident set, MB, of a process in which Ray Tune runs a trial; None of another."""
    try:
        title = " ".join(process.cmdline())
        return process.memory_info().rss / 1e6 if title.startswith("ray::ImplicitFunc") else None
    except psutil.Error:  # it has just ended
        return None


def write_cohort(folder: Path) -> Path:
    """A store of random features, labels in turn, a patient a slide."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(SLIDES):
        patches = int(rng.integers(*PATCHES))
        features = rng.normal(loc=0.2 * (number % 2), size=(patches, FEATURES)).astype(np.float32)
        slide = SlideFeatures(f"s{number:03d}", features, np.zeros((patches, 2), np.int64))
        write_slide(folder, slide, attributes={"encoder": "made-up"}, coords_attributes={})
        label = ("negative", "positive")[number % 2]
        rows.append((slide.slide_id, f"p{number:03d}", label, "train", patches))
    names = ("slide_id", "patient_id", "label", "split", "patches")
    write_slides(folder, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))
    return folder

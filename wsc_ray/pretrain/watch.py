"""A training worker's watch over its batches: it lists patches that could not be read and records the batches.

Bad patches are gathered from all workers only where all of them log or checkpoint, so that each worker knows all bad
patches and comes to the same decision at the same step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from wsc_ray.distributed import all_gather_bytes, rank_and_world_size
from wsc_ray.errors import BadInputError
from wsc_ray.recipe.sections import Stream
from wsc_ray.storage import AnyPath
from wsc_ray.stream.order import MIXED, PURE
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.quarantine import Bad, from_json, read_quarantine, to_json
from wsc_ray.stream.record import Recorder, truncate_samples

Batch = Mapping[str, np.ndarray]


class Watch:
    """One worker's watch.

    Args:
        folder: the run folder. Worker 0 removes the entries of `first_step` and later ones from its lists.
        first_step: the step at which the run starts or resumes.
        device: device of the tensors that workers exchange.
    """

    def __init__(self, folder: AnyPath, plan: Plan, config: Stream, *, first_step: int, device: torch.device):
        self.folder, self.config, self.device = folder, config, device
        self.patches = plan.patches(PURE) + plan.patches(MIXED)
        self.rank, _ = rank_and_world_size()
        self.quarantine = read_quarantine(folder, before=first_step)
        self.recorder = Recorder() if config.record else None
        self._new: list[tuple[Bad, int]] = []
        if self.rank == 0:
            self.quarantine.write(folder)
            truncate_samples(folder, first_step)

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the same batches, and note the bad patches and the record of each."""
        for batch in batches:
            for step, text in zip(batch["step"], batch["bad"], strict=True):
                self._new += [(bad, int(step)) for bad in from_json(text)]
            if self.recorder is not None:
                self.recorder.add(batch)
            yield batch

    def gather(self) -> int:
        """Share new bad patches among all workers, update the run's list, and return the number of bad patches so far.

        All workers must call this at the same step.
        """
        changed = False
        for lines in all_gather_bytes("\n".join(self._lines()).encode(), self.device):
            for line in lines.decode().split("\n"):
                step, _, text = line.partition(" ")
                for bad in from_json(text):
                    changed |= self.quarantine.add(bad, int(step))
        self._new = []
        if changed and self.rank == 0:
            self.quarantine.write(self.folder)
        return len(self.quarantine)

    def excess(self) -> BadInputError | None:
        """Return the error for too many bad patches, as of the last `gather`, else None; the same on every worker."""
        return self.quarantine.excess(self.patches, self.config.max_bad_fraction, self.folder)

    def save(self) -> None:
        """Write the record of the batches since the last call."""
        if self.recorder is not None:
            self.recorder.save(self.folder, self.rank)

    def _lines(self) -> Iterator[str]:
        return (f"{step} {to_json([bad])}" for bad, step in self._new)

"""How far reading may run ahead of training.

Ray Data itself would read on until its share of the object store is full, and its scheduling loop turns without a pause
while every task is either done or held back (Ray 2.60; 40% of a core a data set, measured). A read task that waits here
for its turn keeps memory at a few windows and lets that loop sleep.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray


class Pace:
    """An actor: the step that training is at, and the tasks that wait for it to move on."""

    def __init__(self, step: int):
        self.step = step
        self.moved = asyncio.Condition()

    async def reach(self, step: int) -> None:
        """Training has begun `step`, counted over the whole run."""
        async with self.moved:
            self.step = max(self.step, step)
            self.moved.notify_all()

    async def until(self, step: int) -> None:
        """Return once training has begun `step`."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.step >= step)


def start_pace(step: int) -> Any:
    """The handle of a pace of its own for the calling worker, which begins at `step`; it ends with that worker."""
    return ray.remote(Pace).options(num_cpus=0).remote(step)

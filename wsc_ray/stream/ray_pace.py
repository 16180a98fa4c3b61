"""Limit how far reading runs ahead of training.

Ray Data itself would read on until its share of the object store is full, and its scheduling loop then spins without a
pause while every task is either done or held back (Ray 2.60; measured: 40% of a core for each data set). A read task
that waits here for its turn keeps memory at a few windows and lets that loop sleep.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray


class Pace:
    """An actor that knows the step that training is at and lets read tasks wait for a step."""

    def __init__(self, step: int):
        self.step = step
        self.moved = asyncio.Condition()

    async def reach(self, step: int) -> None:
        """Note that training has begun `step`, counted over the whole run."""
        async with self.moved:
            self.step = max(self.step, step)
            self.moved.notify_all()

    async def until(self, step: int) -> None:
        """Return once training has begun `step`."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.step >= step)


def start_pace(step: int) -> Any:
    """Start a `Pace` for the calling worker, at `step`, and return its handle; the actor ends with the worker."""
    return ray.remote(Pace).options(num_cpus=0).remote(step)

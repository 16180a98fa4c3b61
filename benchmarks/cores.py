"""The cores of a comparison: whether its options suit this machine, and keeping it on some of the cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from wsc_ray.bench.environment import usable_cores
from wsc_ray.errors import ResourceError, UserError


@contextlib.contextmanager
def on_cores(cores: int) -> Iterator[None]:
    """Keep this process and what it starts on so many of its cores; all of them where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def check_rounds(batch_size: int, cores: int, rounds: int) -> None:
    """Check the options of rounds that are measured through Ray on this machine.

    Raises:
        UserError: the batch has no two equal halves, or there is no round.
        ResourceError: there are fewer cores, or Ray would run elsewhere.
    """
    if batch_size < 4 or batch_size % 2:
        raise UserError(f"--batch-size must be an even number from 4, not {batch_size}")
    if rounds < 1:
        raise UserError(f"--rounds must be 1 or more, not {rounds}")
    if not 1 <= cores <= usable_cores():
        raise ResourceError(f"--cores {cores}: give 1 or more, and no more than the {usable_cores()} cores there are")
    if os.environ.get("RAY_ADDRESS"):
        raise ResourceError("RAY_ADDRESS names a cluster, and everything here is measured on this machine; unset it")

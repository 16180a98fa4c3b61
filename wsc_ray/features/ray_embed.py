"""The Ray glue: actors hold the encoder, embed lots and write the slides' files; they return only counts of patches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
import ray

from wsc_ray.encoders.frozen import FrozenEncoder
from wsc_ray.errors import ResourceError, UserError
from wsc_ray.features.embed_lot import Job, check_sight, embed_lot
from wsc_ray.features.encode import Encoder
from wsc_ray.features.fit import fit
from wsc_ray.features.lots import Lot
from wsc_ray.features.room import cpus_each
from wsc_ray.ray_memory import KEEP_MEMORY

LOTS_EACH = 2  # lots that an actor works on at a time: it reads patches of one while it encodes those of the other
RETRIES = 2  # further attempts at a lot whose process or machine died
_SECONDS = 2.0  # time between two updates of the progress
_STOP_SECONDS = 30.0  # time that actors have to end after an error


class Worker:
    """An actor with the frozen encoder on its GPU, or on CPUs."""

    def __init__(self, job: Job, threads: int):
        cv2.setNumThreads(1)  # there is a decoding thread for each CPU already
        self._job, self._threads = job, threads
        self._frozen: FrozenEncoder | None = None
        self._encoder: Encoder | None = None
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._done, self._stopped = 0, False

    def embed(self, lot: Lot, shared: list[Any]) -> UserError | dict[str, str]:
        """Embed a lot's slides and return those that were left out, with the reasons; or a user's mistake, which is returned instead
        of raised, since Ray would wrap it in a traceback.

        Args:
            shared: a reference to the `FrozenEncoder`, in a list so that it is fetched once. It is no argument of the constructor, since
                Ray warns that a restarting actor could lose it.
        """
        try:
            with self._lock:
                if self._frozen is None or self._encoder is None:
                    check_sight(self._job, ray.util.get_node_ip_address())
                    self._frozen = cast(FrozenEncoder, ray.get(shared[0]))
                    self._encoder = Encoder(self._frozen)
            fitted = partial(fit, size=self._job.size, interpolation=self._frozen.interpolation)
            return embed_lot(self._job, lot, self._encode, fitted, threads=self._threads, count=self._count)
        except UserError as error:
            return error

    def done(self) -> int:
        """Return the number of patches that are embedded so far."""
        return self._done

    def stop(self) -> None:
        """Stop at the next batch, and leave no half-written file."""
        self._stopped = True

    def _encode(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:  # one lot encodes at a time; the other reads meanwhile
            if self._stopped:
                raise UserError("stopped")
            assert self._encoder is not None  # `embed` has made it
            return self._encoder(pixels)

    def _count(self, patches: int) -> None:
        with self._counting:
            self._done += patches


def embed_all(
    job: Job, encoder: FrozenEncoder, lots: Iterable[Lot], *, workers: int, show: Callable[[int], None]
) -> dict[str, str]:
    """Embed every lot; needs a Ray session.

    Args:
        lots: the lots, each taken when an actor is free.
        workers: number of actors.
        show: called from time to time with the number of embedded patches.

    Returns:
        The slides that were left out, and why; none but with `job.skip_bad`.

    Raises:
        UserError: an actor returned a mistake, or there are too few CPUs or GPUs; slides that are complete are kept.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = cpus_each(nodes, workers)
    actor = ray.remote(  # type: ignore[call-overload]  # Ray's types lack max_concurrency
        num_cpus=cpus,
        num_gpus=1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0,
        max_concurrency=LOTS_EACH + 1,
        max_restarts=RETRIES,
        max_task_retries=RETRIES,
        runtime_env={"env_vars": KEEP_MEMORY},
    )(Worker)
    shared = [ray.put(encoder)]
    team = [actor.remote(job, cpus) for _ in range(workers)]
    running: dict[Any, Any] = {}  # a lot's future result -> its actor
    free = team * LOTS_EACH  # every actor gets one lot before any gets two
    remaining, embedded = iter(lots), 0
    left_out: dict[str, str] = {}
    try:
        while True:
            for worker in list(free):
                lot = next(remaining, None)
                if lot is None:
                    break
                free.remove(worker)
                running[worker.embed.remote(lot, shared)] = worker
            if not running:
                return left_out
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_SECONDS)
            for result in ready:
                free.append(running.pop(result))
                left_out |= _slides_left_out(result)
            embedded = max(embedded, _done(team))
            show(embedded)
    finally:
        if running:
            for worker in team:
                worker.stop.remote()
            ray.wait(list(running), num_returns=len(running), timeout=_STOP_SECONDS)


def _slides_left_out(result: Any) -> dict[str, str]:
    """Return the slides that a lot's actor has left out, with the reasons.

    Raises:
        UserError: the mistake that the actor returned.
        ResourceError: the actor was lost.
    """
    try:
        answer = ray.get(result)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as lost:
        reason = (str(lost).strip().splitlines() or [type(lost).__name__])[0][:200]
        raise ResourceError(
            f"the process of an encoder ended each time, {1 + RETRIES} times; it may need more memory than its machine has: {reason}"
        ) from None
    if isinstance(answer, UserError):
        raise answer
    return cast(dict[str, str], answer)


def _done(team: list[Any]) -> int:
    """Return the number of patches that the actors have embedded; actors that do not answer count as 0."""
    answers = [worker.done.remote() for worker in team]
    ready, _ = ray.wait(answers, num_returns=len(answers), timeout=_SECONDS)
    total = 0
    for answer in ready:
        try:
            total += ray.get(answer)
        except ray.exceptions.RayError:  # Ray is restarting the actor
            continue
    return total

"""Read one window of one worker's shards: the patches of some steps, by whole row groups, then decoded and augmented."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from wsc_ray.recipe.sections import Augment, Stream
from wsc_ray.stream.neighbours import neighbour_draws, offsets
from wsc_ray.stream.order import MIXED, PURE, window_picks
from wsc_ray.stream.patches import Patches
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.quarantine import allowed, to_json
from wsc_ray.stream.source import Source
from wsc_ray.stream.views import views_of

Batch = dict[str, np.ndarray]
DEFAULTS = Stream()


def read_window(
    plan: Plan,
    source: Source,
    augment: Augment,
    *,
    epoch: int,
    window: int,
    shards: range,
    first_step: int = 0,
    stream: Stream = DEFAULTS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Batch]:
    """Yield the batches of a window, one per step.

    Args:
        shards: the worker's shards; see `worker_shards`.
        first_step: steps of the run before this one are left out (of a resumed run), and nothing is read for them.
        stream: number of retries, fraction of bad patches to tolerate, and where views are made.
        sleep: waits some seconds before a retry.

    Yields:
        Pure patches, then mixed ones: `views` (n, 2, size, size, 3) uint8, `parameters` (n, 2, P) of the views, `label`
        (n,) int64 (an index into `plan.labels`), `step` (n,) int64 counted over the whole run, `position` (n,) int64 in
        the global batch, `slide_id` (n,), `x` and `y` (n,), and `bad` (n,): the unreadable patches that were met while
        looking for this one, each once a window, see `from_json`. A patch that cannot be read has a stand-in, see
        `Patches`. With `stream.augment_on: device`, `images` (n, h, w, 3) uint8 take the place of `views`; see `padded`.
        From a feature store, `views` are (n, 2, D) float16 and `parameters` (n, 2, 1) the numbers of the stored views.
        With `augment.neighbour`, two more parameters give the position of the view's patch, in level-0 px from the patch
        that was drawn.

    Raises:
        DataError: no patch of a class can be read.
    """
    geometry, on_device = plan.geometry, stream.augment_on == "device"
    limit = allowed(plan.patches(PURE) + plan.patches(MIXED), stream.max_bad_fraction)
    begin = epoch * geometry.steps
    steps = geometry.window_steps(window)
    keep = [index for index, step in enumerate(steps) if begin + step >= first_step]
    near = {index: _draws(augment, plan, begin, steps[index]) for index in keep} if augment.neighbour else {}
    picks, patches = {}, {}
    for kind in (PURE, MIXED):
        # For each step, row group and row of the worker's patches
        picks[kind] = [
            picked.tolist() for picked in window_picks(geometry, plan.orders[kind], kind, epoch, window, shards)
        ]
        patches[kind] = Patches(
            source,
            plan.groups[kind],
            retries=stream.retries,
            allowed=limit,
            near=bool(augment.neighbour),
            sleep=sleep,
        )
        wanted = [
            ((group, row), near[index][position] if near else None)
            for index in keep
            for position, (group, row) in enumerate(
                picks[kind][index], start=_first_position(plan, kind, steps[index], shards)
            )
        ]
        patches[kind].fetch(
            (place for place, _ in wanted), [(place, draw) for place, draw in wanted if draw is not None]
        )
    for index in keep:
        step = steps[index]
        count = sum(len(picks[kind][index]) for kind in (PURE, MIXED))
        rows: list[tuple[Any, ...]] = []
        views = views_of(
            source,
            augment,
            on_device=on_device,
            rows=count,
            patches=2 * geometry.size(step),
            key=(geometry.seed, begin + step),
        )
        for kind in (PURE, MIXED):
            first = _first_position(plan, kind, step, shards)
            for position, (group, row) in enumerate(picks[kind][index], start=first):
                patch = patches[kind].get(group, row)
                draw = near[index][position] if near else None
                other = None if draw is None else patches[kind].neighbour(group, row, draw)
                parameters = views.add(patch.content, position, None if other is None else other.content)
                if near:
                    places = (patch.x, patch.y), None if other is None else (other.x, other.y)
                    parameters = np.concatenate([parameters, offsets(*places)], axis=1)
                label = plan.groups[kind][patch.group].label
                rows.append((parameters, label, position, patch.slide_id, patch.x, patch.y, to_json(patch.bad)))
        names = ("parameters", "label", "position", "slide_id", "x", "y", "bad")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        yield {
            **views.columns(),
            "parameters": np.stack(columns.pop("parameters")),
            "step": np.full(count, begin + step),
            "bad": np.array(columns.pop("bad"), dtype=object),  # texts of very different lengths
            **{name: np.array(values) for name, values in columns.items()},
        }


def _first_position(plan: Plan, kind: int, step: int, shards: range) -> int:
    """Return the position in the global batch of the first patch of a class from these shards."""
    return kind * plan.geometry.size(step) + plan.geometry.first_position(step, shards.start)


def _draws(augment: Augment, plan: Plan, begin: int, step: int) -> list[float | None]:
    """Return for each position of a step's global batch the number that chooses a neighbour, or None."""
    draws = neighbour_draws(2 * plan.geometry.size(step), augment.neighbour, plan.geometry.seed, begin + step)
    return [None if np.isnan(draw) else draw for draw in draws.tolist()]

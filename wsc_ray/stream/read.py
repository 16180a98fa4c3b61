"""One window of one worker's shards: the patches of some steps, read row group by row group, then decoded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.manifest import Manifest, decode, image_bytes
from wsc_ray.recipe import Augment
from wsc_ray.stream.augment import resize, two_views
from wsc_ray.stream.order import MIXED, PURE, window_rows
from wsc_ray.stream.plan import Plan

Batch = dict[str, np.ndarray]


def read_window(
    plan: Plan, manifest: Manifest, augment: Augment, *, epoch: int, window: int, shards: range, first_step: int = 0
) -> Iterator[Batch]:
    """The batches of a window, a step each.

    Args:
        shards: whose patches; see `worker_shards`.
        first_step: steps of the run before this one are left out (a resumed run).

    Yields:
        Pure patches, then mixed ones: `views` (n, 2, size, size, 3) uint8, `label` (n,) int64 (an index into
        `plan.labels`), `step` (n,) int64 counted over the whole run, `position` (n,) int64 in the global batch,
        `slide_id` (n,), `x` and `y` (n,).

    Raises:
        DataError: an image that cannot be read or decoded.
    """
    geometry = plan.geometry
    # (steps, patches of the worker, 2): row group and row, of each class
    picks = [
        np.concatenate(
            [window_rows(geometry, plan.sizes(kind), kind, epoch, window, shard) for shard in shards], axis=1
        )
        for kind in (PURE, MIXED)
    ]
    steps = [epoch * geometry.steps + step for step in geometry.window_steps(window)]
    keep = [index for index, step in enumerate(steps) if step >= first_step]
    tables = [_read_groups(manifest, plan, kind, picks[kind][keep]) for kind in (PURE, MIXED)]
    first = shards.start * geometry.per_step
    for index in keep:
        batch: dict[str, list] = {name: [] for name in ("views", "label", "step", "position", "slide_id", "x", "y")}
        for kind in (PURE, MIXED):
            for place, (group, row) in enumerate(picks[kind][index]):
                position = kind * geometry.half + first + place
                patch = tables[kind][group][int(row)]
                image = _decode(manifest, patch)
                batch["views"].append(two_views(image, augment, geometry.seed, steps[index], position))
                batch["label"].append(plan.groups[kind][group].label)
                batch["step"].append(steps[index])
                batch["position"].append(position)
                for name in ("slide_id", "x", "y"):
                    batch[name].append(patch[name])
        yield {name: np.stack(values) if name == "views" else np.array(values) for name, values in batch.items()}


def read_patches(manifest: Manifest, file: int, row_group: int, size: int) -> np.ndarray:
    """Every patch of a row group, whole and resized, for a frozen encoder: (n, size, size, 3) uint8.

    Raises:
        DataError: an image that cannot be read or decoded.
    """
    table = manifest.read_group(file, row_group, ["slide_id", "x", "y", manifest.pixels])
    return np.stack([resize(_decode(manifest, patch), size) for patch in table.to_pylist()])


def _read_groups(manifest: Manifest, plan: Plan, kind: int, picks: np.ndarray) -> dict[int, dict[int, dict]]:
    """The rows that are picked, by row group and row; each row group is read once."""
    flat = picks.reshape(-1, 2)
    columns = ["slide_id", "x", "y", manifest.pixels]
    found: dict[int, dict[int, dict]] = {}
    for group in np.unique(flat[:, 0]):
        where = plan.groups[kind][group]
        rows = np.unique(flat[flat[:, 0] == group, 1])
        table = manifest.read_group(where.file, where.row_group, columns).take(rows)
        found[int(group)] = dict(zip(rows.tolist(), table.to_pylist(), strict=True))
    return found


def _decode(manifest: Manifest, patch: dict) -> np.ndarray:
    try:
        return decode(image_bytes(manifest, patch))
    except DataError as error:
        raise DataError(f"slide {patch['slide_id']}, x {patch['x']}, y {patch['y']}: {error}") from None

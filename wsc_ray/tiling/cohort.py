"""The table of slides of a manifest that `tile` cuts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from wsc_ray.slides.listing import Entry
from wsc_ray.slides.slide_grid import SlideGrid
from wsc_ray.uris import shown


def slide_table(entries: Sequence[Entry], grids: Sequence[SlideGrid], left_out: Collection[str]) -> pa.Table:
    """Return the table of all slides that could be read, including those without tissue.

    Args:
        grids: a grid of each entry.
        left_out: ids of slides that could not be read.

    Returns:
        `slide_id`, `patient_id`, `label`, `split`, `site` (if the list has it), `mpp` (float32, um/px at level 0) and
        `slide_uri`.
    """
    pairs = [(each, grid) for each, grid in zip(entries, grids, strict=True) if each.slide_id not in left_out]
    names = ["slide_id", "patient_id", "label", "split"]
    names += ["site"] if any(each.site is not None for each, _ in pairs) else []
    columns = {name: pa.array([getattr(each, name) for each, _ in pairs], pa.string()) for name in names}
    scales = [grid.scale.mpp_level0 if grid.scale is not None else None for _, grid in pairs]
    columns["mpp"] = pa.array(scales, pa.float32())
    columns["slide_uri"] = pa.array([shown(each.path) for each, _ in pairs], pa.string())
    return pa.table(columns)

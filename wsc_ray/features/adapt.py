"""`embed` with an adapter: put the features of one store through it, into a store of the same layout.

Slides are adapted one by one in this process, since a perceptron is as fast as the disk. Slides whose file exists are
left out, so that an interrupted command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsc_ray.cohort.cohort import PATCHES
from wsc_ray.encoders.adapter import FrozenAdapter, read_adapter
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.feature_files.files import COORDS, FEATURES, open_slide
from wsc_ray.feature_files.table import read_store_identity, store_digest
from wsc_ray.features.store import (
    SlideFile,
    clear_unfinished,
    read_slides,
    slide_path,
    stored_slides,
    write_slides,
)
from wsc_ray.progress import Progress
from wsc_ray.recipe.sections import MLP, Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

_ROWS = 8192  # patches in memory at a time
_OWN = ("name", "savetodir")  # attributes that belong to a file and are not copied


def adapt_features(
    *,
    folder: RunFolder | None,
    encoder: AnyPath,
    features: str | Path | None,
    out: AnyPath,
    recipe: Recipe,
    dry_run: bool,
) -> dict[str, Any]:
    """Write the adapted features of every slide, without views.

    Args:
        folder: the run folder, if there is one.
        encoder: folder of the exported adapter.
        features: the feature store (by default `data.features`).
        out: folder of the new store.

    Returns:
        The summary, which is also in `OUT/summary.json`; for a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written if the store as a whole is wrong.
    """
    named = features or recipe.data.features
    if named is None:
        raise RecipeError("embed", [f"--features: missing; {encoder} is an encoder of features"])
    source, adapter = as_path(named), read_adapter(encoder)
    cohort = read_slides(source)
    counts = dict(zip(cohort.ids, cohort.slides[PATCHES].to_pylist(), strict=True))
    source_identity = read_store_identity(source)
    if adapter.encoder and source_identity.get("encoder") and source_identity["encoder"] != adapter.encoder:
        raise DataError(
            f"features in {source} are by another encoder ({source_identity['encoder'][:12]}) than those that {encoder} was trained on "
            f"({adapter.encoder[:12]}); embed with that one"
        )
    for slide in counts:
        slide_path(out, slide)  # raises for an id that cannot be a file name, before anything is written
    digest = store_digest(source_identity, counts)
    identity = {
        "encoder": adapter.digest,
        "size": source_identity.get("size"),
        "features": digest,
        "features_encoder": source_identity.get("encoder"),
    }
    earlier = claim_folder("embed", out)
    if earlier is not None:
        refuse_other(out, "features", earlier, identity)
    stored = stored_slides(out)
    todo = [slide for slide in counts if slide not in stored]
    _check(source, todo, adapter)
    plan = {
        "features": shown(source),
        "encoder": adapter.source,
        "architecture": MLP,
        "out": shown(out),
        "slides": len(counts),
        "slides_there": len(counts) - len(todo),
        "patches": sum(counts.values()),
    }
    if dry_run:
        return plan
    store = open_store(recipe.tracking.uri, recipe.tracking.experiment, out, *([folder.path] if folder else []))

    def work(tracker: Tracker) -> dict[str, Any]:
        started = time.time()
        tracker.log_dataset(name=source.name, digest=digest, source=str(named), context="inference")
        patches = sum(counts[slide] for slide in todo)
        with Progress("embed", patches, unit="patches") as progress:
            for slide in todo:
                _adapt(source, out, slide, counts[slide], adapter)
                progress.advance(counts[slide])
        clear_unfinished(out)
        write_slides(out, cohort.slides)
        seconds = time.time() - started
        tracker.log_embedded(patches, seconds)
        return {"patches_embedded": patches, "patches_per_second": patches / seconds if patches else None}

    return carry_out("embed", out=out, identity=identity, plan=plan, params=plan, store=store, work=work)


def _check(source: AnyPath, slides: list[str], adapter: FrozenAdapter) -> None:
    """Check the width of the first slide's features, so that a wrong store is refused before anything is written."""
    for slide in slides[:1]:
        with _opened(source, slide) as file:
            _require_width(file, slide, adapter)


def _adapt(source: AnyPath, out: AnyPath, slide: str, patches: int, adapter: FrozenAdapter) -> None:
    """Write one slide's file."""
    with _opened(source, slide) as read:
        _require_width(read, slide, adapter)
        label = read.get("patch_label")
        if len(read[FEATURES]) != patches or read[COORDS].shape != (patches, 2):
            raise DataError(
                f"features of slide {slide} are {read[FEATURES].shape}, while slides.parquet says {patches} patches; embed it again"
            )
        written = SlideFile(out, slide, patches, {"encoder": MLP})
        try:
            for start in range(0, max(patches, 1), _ROWS):
                rows = slice(start, start + _ROWS)
                features = read[FEATURES][rows]
                if not np.isfinite(features).all():
                    raise DataError(f"features of slide {slide} are not all finite numbers; the encoder has diverged")
                written.append(adapter(features), read[COORDS][rows], None if label is None else label[rows])
            written.finish({name: value for name, value in read[COORDS].attrs.items() if name not in _OWN})
        finally:
            written.discard()


@contextmanager
def _opened(source: AnyPath, slide: str) -> Iterator[h5py.File]:
    with open_slide(source, slide) as file:
        missing = [name for name in (FEATURES, COORDS) if name not in file]
        if missing:
            raise DataError(f"features of slide {slide} in {source} lack {' and '.join(missing)}; embed it again")
        yield file


def _require_width(file: h5py.File, slide: str, adapter: FrozenAdapter) -> None:
    shape = file[FEATURES].shape
    if len(shape) != 2 or shape[1] != adapter.shape.inputs:
        raise DataError(
            f"features of slide {slide} are {shape}, and the encoder in {adapter.source} takes {adapter.shape.inputs} dimensions; "
            "name the store that it was trained on, or one of the same encoder"
        )

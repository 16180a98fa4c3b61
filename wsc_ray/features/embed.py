"""`embed`: put every slide of a manifest through a frozen encoder and write one file for each slide.

This process assigns slides to actors and counts patches; features never come here. It knows only how many patches each
slide has, and in which row groups, see `wsc_ray.features.lots`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort import Cohort
from wsc_ray.encoders import IMAGENET
from wsc_ray.encoders.adapter import is_adapter
from wsc_ray.encoders.choose import choose_encoder
from wsc_ray.encoders.frozen import AS_TRAINED, FrozenEncoder
from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.features.adapt import adapt_features
from wsc_ray.features.augmented import Augmentation
from wsc_ray.features.embed_lot import Job
from wsc_ray.features.lots import Lots
from wsc_ray.features.store import SlideFile, clear_unfinished, slide_path, stored_slides, write_slides
from wsc_ray.manifest import open_manifest
from wsc_ray.progress import Progress
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown


def embed_slides(
    *,
    run: str | Path | None = None,
    encoder: str | Path | None = None,
    manifest: str | None = None,
    features: str | Path | None = None,
    out: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    views: int = 0,
    fetch: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Write the features of every slide; slides whose file exists are left out.

    Args:
        run: the run folder, which gives the defaults of the other arguments.
        encoder: folder of an exported encoder (`RUN/encoder`), `timm:NAME` or `local-dir:FOLDER`; see
            `wsc_ray.encoders.choose`.
        manifest: the manifest of the patches (`data.manifest`), which may be of another cohort.
        features: a feature store (`data.features`) in place of a manifest, for an encoder of features; see
            `wsc_ray.features.adapt`.
        out: folder of the features (`RUN/features`): a path that every node mounts, or a URI.
        recipe, overrides: the recipe, of which `embed`, `stream.retries` and `tracking` are used; with views, `augment`
            and `seed`, too.
        views: K, the number of augmented views of each patch to embed besides the patch itself.
        fetch: fetch timm's weights if they are not in the cache.
        skip_bad: leave out slides of which an image or a row group cannot be read, instead of stopping; the summary's `slides_left_out` has the
            reasons.
        dry_run: return the plan and write nothing.

    Returns:
        The summary, which is also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.errors`.
    """
    folder, recipe = resolve_run(run, recipe, overrides)
    own, out = resolve_paths(
        "embed", encoder=(encoder, folder and folder.encoder), out=(out, folder and folder.features)
    )
    if is_adapter(own):
        if manifest or views:
            option = "--manifest" if manifest else "--views"
            raise RecipeError(
                "embed", [f"{option}: {own} is an encoder of features and sees no pixels; give --features"]
            )
        return adapt_features(folder=folder, encoder=own, features=features, out=out, recipe=recipe, dry_run=dry_run)
    if features is not None:
        raise RecipeError("embed", [f"--features: {encoder or own} is an encoder of pixels; give --manifest"])
    if views == 1:
        raise RecipeError("embed", ["--views: training pairs two different views of a patch; give 2 or more, or 0"])
    source = manifest or recipe.data.manifest
    if source is None:
        raise RecipeError("embed", ["--manifest: missing; give it or --run"])
    augmentation = Augmentation(views, recipe.augment, recipe.seed) if views else None
    frozen = choose_encoder(encoder if encoder is not None else own, size=recipe.embed.size, fetch=fetch)
    patches = open_manifest(source, labelled=False)
    if folder is not None and manifest is None:
        _refuse_another(folder, source, patches.digest)
    runs = patches.runs()
    counts = runs.patches()
    if not counts:
        raise DataError(f"{source} holds no patches")
    for slide in counts:
        slide_path(out, slide)  # raises for an id that cannot be a file name, before anything is written
    cohort = patches.cohort()
    identity = {
        "encoder": frozen.digest,
        "size": frozen.size,
        "pixels": frozen.pixels.to_json(),
        "interpolation": frozen.interpolation,
        "manifest": patches.digest,
        "views": augmentation.to_json() if augmentation else None,
    }
    earlier = claim_folder("embed", out)
    if earlier is not None:
        # Identities of older versions lack these keys, which had one value then.
        older = {"pixels": IMAGENET.to_json(), "interpolation": AS_TRAINED, "views": None}
        refuse_other(out, "features", {**older, **earlier}, identity)
    stored = stored_slides(out)
    lots = Lots(runs, patches.row_groups, counts.keys() - stored, recipe.embed.workers)
    plan = {
        "manifest": source,
        "encoder": frozen.source,
        "architecture": frozen.name,
        "size": frozen.size,
        "out": shown(out),
        "slides": len(counts),
        "slides_there": len(counts.keys() & stored),
        "patches": sum(counts.values()),
        "views": views,
    }
    if dry_run:
        return plan
    store = open_store(recipe.tracking.uri, recipe.tracking.experiment, out, *([folder.path] if folder else []))
    attributes = {"encoder": frozen.name}
    batch_size, retries = recipe.embed.batch_size, recipe.stream.retries
    job = Job(patches, out, identity, attributes, frozen.size, batch_size, retries, augmentation, skip_bad)

    def work(tracker: Tracker) -> dict[str, Any]:
        started = time.time()
        tracker.log_dataset(name=as_path(source).name, digest=patches.digest, source=source, context="inference")
        left_out = _embed(job, frozen, lots, recipe.embed.workers)
        for slide in set(cohort.ids) - counts.keys() - stored:
            _write_empty(slide, out, frozen.width, views, attributes)
        clear_unfinished(out)
        table = _summary(cohort, counts)
        if left_out:
            table = table.filter(pc.invert(pc.is_in(table["slide_id"], pa.array(sorted(left_out)))))
        if table.num_rows:
            write_slides(out, table)
        seconds = time.time() - started
        rate = lots.patches / seconds if lots.patches else None
        tracker.log_embedded(lots.patches, seconds)
        embedded = lots.patches - sum(counts[slide] for slide in left_out)
        return {"patches_embedded": embedded, "patches_per_second": rate, "slides_left_out": left_out}

    params = {**plan, "embed": {"batch_size": recipe.embed.batch_size}}
    return carry_out("embed", out=out, identity=identity, plan=plan, params=params, store=store, work=work)


def _refuse_another(folder: RunFolder, source: str, digest: str) -> None:
    """Check that the run's manifest still holds the patches that the run was trained on."""
    trained = folder.read_info().get("manifest")
    trained = trained if isinstance(trained, Mapping) else {}
    if trained.get("uri") == source and trained.get("digest") not in (None, digest):
        raise RunFolderError(
            f"{source} holds other patches than {folder.path} was trained on; name it with --manifest to embed them all the same"
        )


def _embed(job: Job, encoder: FrozenEncoder, lots: Lots, workers: int) -> dict[str, str]:
    """Embed the lots and return the slides that were left out, with the reasons."""
    if not lots.patches:
        return {}
    from wsc_ray.features.ray_embed import embed_all
    from wsc_ray.ray_session import ray_session

    with ray_session(), Progress("embed", lots.patches, unit="patches") as progress:
        left_out = embed_all(job, encoder, lots, workers=workers, show=progress.to)
        progress.to(lots.patches)
    return left_out


def _write_empty(slide: str, out: AnyPath, width: int, views: int, attributes: Mapping[str, Any]) -> None:
    """Write the file of a slide without patches, as TRIDENT does: shapes (0, D) and (0, 2)."""
    file = SlideFile(out, slide, 0, attributes)
    try:
        none = np.empty((0, views, width), np.float32)
        file.append(none[:, 0] if views else np.empty((0, width)), np.empty((0, 2)), views=none if views else None)
        file.finish({"overlap": 0})
    finally:
        file.discard()


def _summary(cohort: Cohort, counts: Mapping[str, int]) -> pa.Table:
    """Return the cohort with a column `patches`, the number of patches of each slide."""
    patches = [counts.get(slide, 0) for slide in cohort.ids]
    return cohort.slides.append_column("patches", pa.array(patches, pa.int64()))

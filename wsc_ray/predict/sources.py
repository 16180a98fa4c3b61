"""The sources of slides to predict: a list of slides, a manifest, or features. Each is checked before anything is written.

`tile` cuts slides into `OUT/manifest`, and `embed` embeds this manifest, or the given one, into `OUT/features`. Both skip slides that
are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsc_ray.cohort import COHORT_FILE
from wsc_ray.cohort.cohort import PATCHES
from wsc_ray.errors import DataError
from wsc_ray.feature_files.table import read_store_identity, store_digest
from wsc_ray.features.embed import embed_slides
from wsc_ray.features.foreign import find_files
from wsc_ray.features.importing import digest_of_files
from wsc_ray.features.store import read_slides
from wsc_ray.files import is_file_name
from wsc_ray.manifest import open_manifest
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.predict.bag import Asked, look_at
from wsc_ray.predict.cutting import Cutting
from wsc_ray.predict.embedded import FEATURES, MANIFEST, of_cohort, of_list
from wsc_ray.predict.encoder import encoder_name, fitted_recipe, needs_adapter, refuse_other_features, unknown_encoder
from wsc_ray.predict.head import Head
from wsc_ray.recipe.sections import Recipe
from wsc_ray.slides.listing import read_list
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tiling.run import digest_of_list, tile_slides
from wsc_ray.uris import shown


@dataclass(frozen=True, eq=False)
class Source:
    """The slides to predict.

    Attributes:
        plan: its part of a dry run's plan.
        identity: its part of the output folder's identity, which is compared when the command is typed again.
        place: where the slides come from, for people.
        name, digest: name and digest of the data, for MLflow.
        notes: remarks for people, in sentences.
        prepare: makes the features in the output folder and returns the slides in order; its argument is the URI of the MLflow store.
    """

    plan: Mapping[str, Any]
    identity: Mapping[str, Any]
    place: str
    name: str
    digest: str
    notes: tuple[str, ...]
    prepare: Callable[[str], list[Asked]]


def of_slides(
    slides: str | Path,
    cutting: Cutting,
    head: Head,
    encoder: str,
    out: AnyPath,
    recipe: Recipe,
    *,
    folder: str | Path | None,
    columns: Mapping[str, str] | None,
) -> Source:
    """Return the source for a list of slides, or a folder of them.

    Raises:
        ManifestError: the list is wrong.
        DataError: the settings of the patches are wrong, or the encoder is not the head's.
        RunFolderError: `out` holds other slides.
    """
    fitted = fitted_recipe(encoder, head, recipe)
    listed = read_list(slides, folder=folder, columns=columns, labelled=False)
    arguments: dict[str, Any] = {
        "slides": slides,
        "out": str(out / MANIFEST),
        "folder": folder,
        "columns": columns,
        "to_predict": True,
        "skip_bad": True,
        **cutting.arguments(),
    }
    plan = tile_slides(**arguments, dry_run=True)
    digest = digest_of_list(listed.entries, link=cutting.link)

    def prepare(store: str) -> list[Asked]:
        tiled = tile_slides(**arguments, tracking=store, experiment=recipe.tracking.experiment)
        left_out: dict[str, str] = {}
        if tiled["patches"]:
            left_out = _embed(encoder, str(out / MANIFEST), out / FEATURES, _with_store(fitted, store))
        return of_list(listed, tiled, left_out, cutting, out)

    asked = {name: plan[name] for name in ("mpp", "patch_size", "overlap", "tissue", "reader")}
    return Source(
        {"slides_from": shown(slides), "slides": len(listed.entries), **asked, "link": cutting.link},
        {"list": digest, **cutting.arguments()},
        shown(slides),
        Path(slides).name,
        digest,
        listed.notes,
        prepare,
    )


def of_manifest(manifest: str, head: Head, encoder: str, out: AnyPath, recipe: Recipe) -> Source:
    """Return the source for the slides of a manifest.

    Raises:
        UserError: the manifest cannot be used, the encoder is not the head's, or `out` holds features of another manifest or encoder.
    """
    fitted = fitted_recipe(encoder, head, recipe)
    opened = open_manifest(manifest, labelled=False)
    cohort = opened.cohort()
    plan = embed_slides(
        encoder=encoder, manifest=manifest, out=str(out / FEATURES), recipe=fitted, skip_bad=True, dry_run=True
    )

    def prepare(store: str) -> list[Asked]:
        left_out = _embed(encoder, manifest, out / FEATURES, _with_store(fitted, store))
        found = []
        for each in of_cohort(cohort, out / FEATURES):
            reason = left_out.get(each.slide_id)
            found.append(each.without(f"it cannot be read: {reason}") if reason else each)
        return found

    return Source(
        {"manifest": shown(manifest), "slides": len(cohort), "patches": plan["patches"]},
        {"manifest": opened.digest},
        shown(manifest),
        as_path(manifest).name,
        opened.digest,
        (),
        prepare,
    )


def of_features(features: str | Path, head: Head, encoder: AnyPath | None, out: AnyPath, recipe: Recipe) -> Source:
    """Return the source for a feature store, or a folder of feature files as TRIDENT writes them; every file is read once, as a check.

    Args:
        encoder: the encoder; if it is the adapter that the head was fitted to, the store's features pass through it first.

    Raises:
        DataError: there are no features, they have another encoder or width than the head takes, or they are not finite.
    """
    place = as_path(features)
    identity = read_store_identity(place)
    if not (place / COHORT_FILE).is_file():
        return _of_files(place, head)
    cohort = read_slides(place)
    counts = dict(zip(cohort.ids, cohort.slides[PATCHES].to_pylist(), strict=True))
    digest = store_digest(identity, counts)
    plan = {"features": shown(place), "slides": len(cohort), "patches": sum(counts.values())}
    if encoder is not None and needs_adapter(encoder, identity, head):
        adapted: dict[str, Any] = {"encoder": str(encoder), "features": str(place), "out": str(out / FEATURES)}
        embed_slides(**adapted, recipe=recipe, dry_run=True)

        def prepare(store: str) -> list[Asked]:
            embed_slides(**adapted, recipe=_with_store(recipe, store))
            return look_at(of_cohort(read_slides(out / FEATURES), out / FEATURES), head.width)

        return Source(plan, {"features": digest}, shown(place), place.name, digest, (), prepare)
    here = encoder_of(place)
    refuse_other_features(place, here, head)
    asked = look_at(of_cohort(cohort, place), head.width)
    return Source(
        plan, {"features": digest}, shown(place), place.name, digest, unknown_encoder(here, head), lambda store: asked
    )


def _of_files(place: AnyPath, head: Head) -> Source:
    """Return the source for a folder of feature files without a table of slides."""
    files = {name: path for name, path in find_files(place).items() if path.suffix == ".h5"}
    if not files:
        raise DataError(f"{place} holds no .h5 files of features")
    bad = sorted(name for name in files if not is_file_name(name))
    if bad:
        raise DataError(
            f"{place}: {bad[0]!r} cannot be the id of a slide, which may have letters a-z, digits and ._ ()+=@- in it and begins with a "
            "letter or digit; give the file another name"
        )
    here = encoder_of(place)
    refuse_other_features(place, here, head)
    asked = [Asked(name, path=path) for name, path in sorted(files.items())]
    digest = digest_of_files(files)
    asked = look_at(asked, head.width, encoder_name(head))
    plan = {"features": shown(place), "slides": len(files)}
    return Source(
        plan, {"features": digest}, shown(place), place.name, digest, unknown_encoder(here, head), lambda store: asked
    )


def _with_store(recipe: Recipe, store: str) -> Recipe:
    """Return the recipe with this MLflow store, so that every step of the command logs to the same one."""
    return recipe.model_copy(update={"tracking": recipe.tracking.model_copy(update={"uri": store})})


def _embed(encoder: str, manifest: str, out: AnyPath, recipe: Recipe) -> dict[str, str]:
    """Embed a manifest's slides; return the slides that cannot be read, each with the reason."""
    done = embed_slides(encoder=encoder, manifest=manifest, out=str(out), recipe=recipe, skip_bad=True)
    return dict(done["slides_left_out"])

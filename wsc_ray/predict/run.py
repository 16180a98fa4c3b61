"""The command: probabilities, uncertainty and attention for new slides, without labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsc_ray.attention.file import ATTENTION, AttentionMap, write_attention
from wsc_ray.attention.geojson import GEOJSON, feature_collection, write_geojson
from wsc_ray.encoders.choose import LOCAL, TIMM
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.mil.mlflow_registry import model_tag
from wsc_ray.mil.one_bag import predict_bag, speaking
from wsc_ray.predict.bag import Asked, load_bag
from wsc_ray.predict.cutting import choose_cutting, compare_with_features, manifest_of_features
from wsc_ray.predict.head import Head, load_head_of
from wsc_ray.predict.sources import Source, of_features, of_manifest, of_slides
from wsc_ray.predict.table import PREDICTIONS, Prediction, is_calibrated, write_table
from wsc_ray.progress import Progress
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, refuse_other, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

COMMAND = "predict"
_SHOWN = 5  # slides that a note names
_SEEN = "the head was fitted to this slide, or chosen with it"


def predict_slides(
    *,
    slides: str | Path | None = None,
    manifest: str | None = None,
    features: str | Path | None = None,
    run: str | Path | None = None,
    encoder: str | Path | None = None,
    head: str | Path | None = None,
    out: str | Path | None = None,
    folder: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    mpp: float | None = None,
    patch_size: int | None = None,
    overlap: int | None = None,
    tissue: float | None = None,
    reader: str | None = None,
    geojson: bool = False,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Predict every slide of `slides`, `manifest` or `features`, one of them; a slide that cannot be predicted gets a row with the reason.

    Args:
        slides: a list (see `wsc_ray.slides.listing`) or a folder of slides. They are cut into `OUT/manifest` and embedded into
            `OUT/features`. They are cut with the settings of the manifest of the head's features, unless `mpp`, `patch_size`, `overlap`, `tissue` or
            `reader` is given.
        manifest: a manifest, whose patches are embedded into `OUT/features`.
        features: a feature store, or a folder of feature files as TRIDENT writes them.
        run: the run folder, which gives the defaults of the following arguments.
        encoder: the encoder that embeds, which has to be the one whose features the head was fitted to; by default `RUN/encoder`.
        head: the folder of the head and its members; by default `RUN/mil`.
        out: folder for the results; by default `RUN/predict`.
        folder, columns: how to read the list; see `tile_slides`.
        geojson: write `OUT/geojson/<slide>.geojson` too, for QuPath.
        recipe, overrides: the recipe, by default `RUN/recipe.yaml`; `data`, `embed`, `stream.retries` and `tracking` are used.
        dry_run: check everything, return the plan and write nothing.

    Returns:
        The summary, also in `OUT/summary.json`; on a dry run the plan.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written if the input as a whole is wrong.
    """
    given = [name for name, value in (("SLIDES", slides), ("--manifest", manifest), ("--features", features)) if value]
    if len(given) != 1:
        which = "all of " + ", ".join(given) if given else "nothing to predict"
        raise RecipeError(COMMAND, [f"{which}: give one of SLIDES, --manifest and --features"])
    run_folder, recipe = resolve_run(run, recipe, overrides)
    place, target = resolve_paths(
        COMMAND,
        head=(head, run_folder and run_folder.mil),
        out=(out, run_folder and run_folder.path / COMMAND),
    )
    known = claim_folder(COMMAND, target)
    loaded = load_head_of(place, run_folder, recipe)
    cut = {"mpp": mpp, "patch_size": patch_size, "overlap": overlap, "tissue": tissue, "reader": reader}
    own = encoder if encoder is not None else run_folder and run_folder.encoder
    if slides is not None:
        cutting = choose_cutting(manifest_of_features(loaded, run_folder, recipe), **cut)
        source = of_slides(slides, cutting, loaded, _required(own), target, recipe, folder=folder, columns=columns)
        if loaded.features is not None:
            source = replace(source, notes=(*source.notes, *compare_with_features(cutting, loaded.features)))
    elif manifest is not None:
        source = of_manifest(str(manifest), loaded, _required(own), target, recipe)
    else:
        assert features is not None
        adapter = as_path(str(own)) if own is not None and not str(own).startswith((TIMM, LOCAL)) else None
        source = of_features(features, loaded, adapter, target, recipe)
    identity = {"head": loaded.digest, **source.identity}
    if known is not None:
        refuse_other(target, "predictions", known, identity, words={"list": "the list: it names other slides"})
    plan = {
        **source.plan,
        "head": shown(place),
        "members": len(loaded.members),
        "classes": list(loaded.classes),
        "out": shown(target),
        "geojson": geojson,
    }
    if dry_run:
        return plan | {"notes": [*source.notes, *loaded.notes]}
    store = open_store(
        recipe.tracking.uri,
        recipe.tracking.experiment,
        target,
        place,
        *([run_folder.path] if run_folder is not None else []),
    )

    def work(tracker: Tracker) -> dict[str, Any]:
        asked = source.prepare(store.uri)
        found = _predict_all(asked, loaded, target, geojson=geojson)
        write_table(target / PREDICTIONS, found, loaded.classes, loaded.calibration)
        tracker.log_dataset(name=source.name, digest=source.digest, source=source.place, context="inference")
        tracker.log_artifact(target / PREDICTIONS)
        tracker.set_tags(model_tag(place))
        counted = _counts(found, loaded)
        tracker.log_results({"slides": len(found), "slides_predicted": counted["slides_predicted"]})
        return {**counted, "notes": _notes(source, found, loaded), "predictions": shown(target / PREDICTIONS)}

    return carry_out(COMMAND, out=target, identity=identity, plan=plan, params=plan, store=store, work=work)


def _required(encoder: str | Path | AnyPath | None) -> str:
    if encoder is None:
        raise RecipeError(COMMAND, ["--encoder: missing; give it or --run"])
    return str(encoder)


def _predict_all(asked: Sequence[Asked], head: Head, out: AnyPath, *, geojson: bool) -> list[Prediction]:
    """Predict slide by slide; the features of one slide are in memory at a time."""
    found = []
    with Progress(COMMAND, len(asked), unit="slides") as progress:
        for each in asked:
            found.append(_predict(each, head, out, geojson=geojson))
            progress.advance(1)
    return found


def _predict(asked: Asked, head: Head, out: AnyPath, *, geojson: bool) -> Prediction:
    """Predict a slide and write its attention map, and with `geojson` also its GeoJSON."""
    drawing = out / GEOJSON / f"{asked.slide_id}.geojson"
    asked, bag = load_bag(asked, head.width)
    if bag is None:
        for stale in (out / ATTENTION / f"{asked.slide_id}.h5", drawing):  # of an earlier call that could read it
            stale.unlink(missing_ok=True)
        return Prediction(asked.slide_id, asked.patient_id, 0, None, asked.note)
    fold = head.folds.get(asked.slide_id)
    members = speaking(head.members, fold)
    if not members:
        raise DataError(
            f"no member in {head.place} was held out from fold {fold} of slide {asked.slide_id}; tune again"
        )
    probabilities, attention = predict_bag(members, bag.features)
    names = [member.name for member in members]
    seen = AttentionMap(asked.slide_id, bag.coords, names, attention, head.classes, probabilities, bag.attributes)
    write_attention(out / ATTENTION, seen)
    notes = [asked.note, _SEEN if asked.slide_id in head.fitted else ""]
    if geojson:
        try:
            write_geojson(drawing, feature_collection(seen))
        except DataError as error:
            notes.append(f"no GeoJSON: {error}")
    note = "; ".join(filter(None, notes))
    return Prediction(asked.slide_id, asked.patient_id, len(bag.features), probabilities, note, fold)


def _counts(found: Sequence[Prediction], head: Head) -> dict[str, Any]:
    """Return how many slides were predicted, how many were not, and how many were predicted as each class."""
    said = [each.probabilities for each in found]
    predicted = Counter(head.classes[int(each.argmax())] for each in said if each is not None)
    return {
        "slides_predicted": sum(predicted.values()),
        "slides_not_predicted": len(found) - sum(predicted.values()),
        "predicted": {name: predicted[name] for name in head.classes},
    }


def _notes(source: Source, found: Sequence[Prediction], head: Head) -> list[str]:
    """Return the notes of the whole prediction, in sentences."""
    notes = [*source.notes, *head.notes]
    without = [each for each in found if each.members is None]
    if without:
        told = "; ".join(f"{each.slide_id}: {each.note}" for each in without[:_SHOWN])
        more = f"; and {len(without) - _SHOWN:,} more" if len(without) > _SHOWN else ""
        notes.append(f"slides without a prediction: {len(without):,} ({told}{more})")
    seen = sum(each.slide_id in head.fitted for each in found)
    if seen:
        notes.append(f"slides that the head was fitted to or chosen with, whose predictions flatter it: {seen:,}")
    if not head.calibration:
        notes.append("no calibrated columns: `wsc-ray evaluate` has not chosen a temperature for this head")
    elif bare := sum(each.members is not None and not is_calibrated(each, head.calibration) for each in found):
        notes.append(
            f"slides without calibrated values: {bare:,}; `wsc-ray evaluate` has chosen a temperature for the members of each fold, and "
            "these slides are in none, so that members of all folds answer"
        )
    return notes

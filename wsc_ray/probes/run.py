"""`wsc-ray probe`: measuring features without a head, on patients that were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort import Cohort, choose_slides
from wsc_ray.cohort.cohort import SITE
from wsc_ray.cohort.overlay import overlay
from wsc_ray.cohort.tables import read_user_table
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.evaluate.assess import class_positions, entry, metric_key
from wsc_ray.evaluate.bootstrap import Resample, bootstrap
from wsc_ray.evaluate.inputs import FOLD
from wsc_ray.evaluate.ledger import LEDGER, Opening, digest_of_recipe, digest_of_slides, last_opening, record
from wsc_ray.evaluate.metrics import measure
from wsc_ray.evaluate.report import write_slides
from wsc_ray.features.store import read_slides
from wsc_ray.files import read_summary
from wsc_ray.mil.bags import Bags, class_order, load_bags, slides_of
from wsc_ray.mil.inputs import encoder_of, refuse_shared
from wsc_ray.probes.linear import linear_probabilities
from wsc_ray.probes.neighbours import neighbour_shares
from wsc_ray.probes.samples import Samples, patch_samples, require_patients, slide_samples
from wsc_ray.probes.site import robustness
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, resolve_paths, resolve_run
from wsc_ray.storage import AnyPath
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

PROBES = ("neighbours", "linear")


def probe_features(
    *,
    run: str | Path | None = None,
    features: str | Path | None = None,
    out: str | Path | None = None,
    test: bool = False,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Measure features with nearest neighbours and a linear classifier, on slides, and on patches if their labels are known.

    Args:
        run: the run folder, which gives the defaults of the arguments below.
        features: the feature store (default `RUN/features`).
        out: the output folder (default `RUN/probe`).
        test: learn from training and validation slides and measure on test slides, which the ledger records. Otherwise test slides
            are not used, and every patient is predicted from the others. With folds all slides are used, and the ledger records
            it, since every slide is a test slide of one fold.
        recipe, overrides: the recipe (default `RUN/recipe.yaml`), of which `seed`, `data`, `evaluate` and `tracking` are used.
        dry_run: check everything, return the plan, and write nothing.

    Returns:
        The summary, also in `OUT/summary.json`: `probes`, the metrics by level and probe, and `site`.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    folder, recipe = resolve_run(run, recipe, overrides)
    features, out = resolve_paths(
        "probe", features=(features, folder and folder.features), out=(out, folder and folder.path / "probe")
    )
    claim_folder("probe", out)
    cohort = read_slides(features)
    chosen = choose_slides(cohort, recipe.data)
    learn, measured = _sides(chosen.slides, features, recipe, test)
    folds = FOLD in learn.column_names  # then every slide is a test slide of one fold
    classes = class_order(learn["label"].to_pylist(), recipe.data.pure)
    plan = _plan(features, out, recipe, classes, learn, measured)
    if folds:
        plan["learned_from"] = "all folds"
    if dry_run:
        return plan
    bags = load_bags(features, learn, classes, patch_labels=True)
    query = None if measured is None else load_bags(features, measured, classes, patch_labels=True)
    if query is not None and query.features.shape[1] != bags.features.shape[1]:
        raise DataError(f"features in {features} are of several widths; use one encoder")
    pairs = _pairs(bags, query, classes, recipe)
    predicted = {
        level: {probe: _probabilities(probe, train, queries, recipe) for probe in PROBES}
        for level, (train, queries) in pairs.items()
    }
    entries = {
        level: {
            probe: _measured(queries or train, probabilities, recipe)
            for probe, probabilities in predicted[level].items()
        }
        for level, (train, queries) in pairs.items()
    }
    slides = pairs["slides"][0]
    site, notes = robustness(slides, _sites(cohort, recipe, slides), recipe.seed)
    values = {"probes": entries, "site": site, "notes": [*chosen.notes, *_empty(bags, query), *notes]}
    opening = None
    if folds or measured is not None:
        opened, where = (learn, "all folds") if measured is None else (measured, f"split {recipe.data.test_split}")
        opening = _opening(features, opened, where, query or bags, bags, recipe)
    store = open_store(
        recipe.tracking.uri, recipe.tracking.experiment, out, features, *([folder.path] if folder else [])
    )
    ledger_folder = folder.path if folder else out

    def work(tracker: Tracker) -> Mapping[str, Any]:
        ledger = None
        if opening is not None:
            completed = last_opening(read_summary(out))
            counts = record(ledger_folder, opening, run_id=tracker.run_id, completed=completed)
            ledger = {"path": shown(ledger_folder / LEDGER), **counts}
            tracker.set_tags({f"wsc_ray.test.{name}": str(value) for name, value in asdict(opening).items()})
        measured_slides = pairs["slides"][1] or slides
        for probe, probabilities in predicted["slides"].items():
            write_slides(
                out / f"{probe}.csv",
                measured_slides.slides.tolist(),
                measured_slides.patients.tolist(),
                measured_slides.labels,
                classes,
                probabilities,
            )
            tracker.log_artifact(out / f"{probe}.csv")
        tracker.log_dataset(name=features.name, digest=bags.digest(), source=shown(features), context="evaluation")
        tracker.log_results(_flat(values))
        return {**values, "ledger": ledger}

    params = {"features": shown(features), "test": test, "evaluate": recipe.evaluate.model_dump(mode="json")}
    # Existing results are replaced, so that there is no identity to compare.
    return carry_out("probe", out=out, identity={}, plan=plan, params=params, store=store, work=work)


def _sides(slides: pa.Table, features: AnyPath, recipe: Recipe, test: bool) -> tuple[pa.Table, pa.Table | None]:
    """Return the slides to learn from, and with `test` the slides to measure on; slides of other splits are not used.

    Raises:
        DataError: there are no such slides, or a patient is in both.
        RecipeError: `test` is given, but the cohort has folds instead of splits.
    """
    data = recipe.data
    if FOLD in slides.column_names:
        if test:
            raise RecipeError("probe", ["--test: with data.fold there is no test split; leave one of them out"])
        return slides.filter(pc.is_valid(slides[FOLD])).sort_by("slide_id"), None
    learn = pa.concat_tables([slides_of(slides, name) for name in (data.train_split, data.val_split)])
    learn = learn.sort_by("slide_id")
    if not learn.num_rows:
        raise DataError(f"no slide in {features} is in split `{data.train_split}` or `{data.val_split}`")
    if not test:
        return learn, None
    measured = slides_of(slides, data.test_split)
    if not measured.num_rows:
        raise DataError(f"no slide in {features} is in split `{data.test_split}`; set data.test_split")
    refuse_shared(measured, learn, data.test_split, f"{data.train_split} or {data.val_split}")
    return learn, measured


def _pairs(
    bags: Bags, query: Bags | None, classes: Sequence[str], recipe: Recipe
) -> dict[str, tuple[Samples, Samples | None]]:
    """Return by level the samples to learn from and to measure on.

    The latter are None if each patient is predicted from the others. Patches are left out if those to learn from have one known label,
    or those to measure on are of one patient.

    Raises:
        DataError: there are too few patients to learn from, or slides to measure on are of one patient.
    """
    slides = slide_samples(bags, classes)
    require_patients(slides, "slides")
    if query is not None and len(set(query.patient_ids)) == 1:
        raise DataError(
            f"all slides to measure on are of patient {query.patient_ids[0]}; intervals over patients need two at least"
        )
    pairs = {"slides": (slides, None if query is None else slide_samples(query, classes))}
    options = {"most": recipe.evaluate.probe_patches, "seed": recipe.seed}
    patches = patch_samples(bags, **options)
    queries = None if query is None else patch_samples(query, **options)
    measurable = query is None or (queries is not None and len(np.unique(queries.patients)) > 1)
    if patches is not None and measurable and len(np.unique(patches.labels)) == 2:
        require_patients(patches, "patches")
        pairs["patches"] = (patches, queries)
    return pairs


def _probabilities(probe: str, train: Samples, query: Samples | None, recipe: Recipe) -> np.ndarray:
    if probe == "neighbours":
        return neighbour_shares(train, query, recipe.evaluate.neighbours)
    return linear_probabilities(train, query, recipe.seed)


def _measured(samples: Samples, probabilities: np.ndarray, recipe: Recipe) -> dict[str, Any]:
    """Return the metrics of probabilities, with intervals over patients."""
    order = recipe.evaluate.order
    positions = class_positions(order, samples.classes) if order and set(order) == set(samples.classes) else None

    def statistic(draw: Resample) -> dict[str, np.ndarray]:
        return measure(samples.labels, probabilities, samples.classes, draw.weights, order=positions)

    points = statistic(Resample(np.ones((1, len(samples))), ()))
    settings = recipe.evaluate
    spread = bootstrap(
        statistic,
        samples.patients.tolist(),
        samples=settings.bootstrap,
        confidence=settings.confidence,
        seed=recipe.seed,
    )
    metrics = {name: entry(name, value[0], spread[name], len(samples.classes)) for name, value in points.items()}
    return {"samples": len(samples), "patients": len(np.unique(samples.patients)), "metrics": metrics}


def _sites(cohort: Cohort, recipe: Recipe, samples: Samples) -> np.ndarray:
    """Return the site of each sample's slide, "" if it is not known."""
    if recipe.data.cohort:
        cohort, _ = overlay(cohort, read_user_table(recipe.data.cohort))
    if SITE not in cohort.columns:
        return np.full(len(samples), "")
    site_of = dict(zip(cohort.ids, cohort.texts(SITE), strict=True))
    return np.array([site_of[slide] or "" for slide in samples.slides.tolist()], dtype=str)


def _opening(features: AnyPath, measured: pa.Table, where: str, query: Bags, bags: Bags, recipe: Recipe) -> Opening:
    embedded = encoder_of(features)
    return Opening(
        command="probe",
        cohort=digest_of_slides(measured),
        where=where,
        slides=len(query),
        head=f"probe of {bags.digest()}",  # a probe has no weights; the features it learned from stand for them
        encoder=embedded["encoder"] if embedded else None,
        features=query.digest(),
        recipe=digest_of_recipe(recipe),
    )


def _empty(bags: Bags, query: Bags | None) -> list[str]:
    empty = [*bags.empty, *(query.empty if query else ())]
    return [f"slides without patches, which are left out: {len(empty)} ({', '.join(empty[:5])})"] if empty else []


def _plan(
    features: AnyPath, out: AnyPath, recipe: Recipe, classes: list[str], learn: pa.Table, measured: pa.Table | None
) -> dict[str, Any]:
    data = recipe.data
    return {
        "features": shown(features),
        "out": shown(out),
        "classes": classes,
        "positive": classes[1] if len(classes) == 2 else None,
        "learned_from": f"splits {data.train_split} and {data.val_split}",
        "measured_on": "each patient from all others" if measured is None else f"split {data.test_split}",
        "slides": learn.num_rows + (0 if measured is None else measured.num_rows),
        "neighbours": recipe.evaluate.neighbours,
        "bootstrap": {
            "samples": recipe.evaluate.bootstrap,
            "confidence": recipe.evaluate.confidence,
            "over": "patients",
        },
    }


def _flat(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics for MLflow, such as `slides_linear_auroc`."""
    flat = {
        metric_key(f"{level}_{probe}_{name}"): each["value"]
        for level, probes in values["probes"].items()
        for probe, result in probes.items()
        for name, each in result["metrics"].items()
        if each["value"] is not None
    }
    site = values["site"] or {}
    return flat | {name: site[name] for name in ("site_balanced_accuracy", "robustness_index") if name in site}

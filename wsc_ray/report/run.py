"""The command: some results as one page, `report.html`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wsc_ray
from wsc_ray.cohort.cohort import LABEL, SITE, Cohort
from wsc_ray.errors import UserError
from wsc_ray.features.store import read_slides
from wsc_ray.files import atomic
from wsc_ray.progress import Progress
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.report.charts import Chart
from wsc_ray.report.collect import Facts, collect
from wsc_ray.report.lineage import (
    comparable,
    confusion,
    headline,
    lineage,
    measured_sentence,
    metric_table,
    openings_sentence,
)
from wsc_ray.report.looks import Look, choose_slides, look
from wsc_ray.report.originals import Originals, open_originals
from wsc_ray.report.page import Report, ResultPage, render
from wsc_ray.report.patch_map import Sampler, map_charts
from wsc_ray.report.places import find_results
from wsc_ray.report.predictive import curve_charts, interval_chart, reliability_chart
from wsc_ray.report.slide_cards import Card, make_card
from wsc_ray.report.training import training_charts
from wsc_ray.stage import carry_out, claim_folder, open_store
from wsc_ray.storage import as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

REPORT = "report.html"
SLIDES = 100  # test slides to show at most
_VIEWS = 300  # largest number of slides times results
_PATCHES = 6  # patches with the highest attention of a slide, and as many with the lowest
_PATCHES_OF_SEVERAL = 4  # the same, if there are several results


def write_report(*, runs: Sequence[str | Path], out: str | Path, slides: int = SLIDES) -> dict[str, Any]:
    """Write a report of results; the same call replaces it.

    Args:
        runs: run folders, folders of `evaluate`, or feature stores.
        out: folder for `report.html`.
        slides: number of test slides to show at most; fewer with many results.

    Returns:
        The summary, also in `OUT/summary.json`.

    Raises:
        UserError: see `wsc_ray.errors`; then nothing has been written.
    """
    parts = find_results(runs)
    folder = as_path(out)
    claim_folder("report", folder)
    results = [collect(each) for each in parts]
    remembered = [each for part in parts for each in (part.evaluation, part.features, part.place) if each is not None]
    run = next((part.run for part in parts if part.run is not None), None)
    tracking = Recipe().tracking if run is None else load_recipe(run.checked_recipe()).tracking
    store = open_store(tracking.uri, tracking.experiment, folder, *remembered)
    plan = {"results": [shown(each.place) for each in parts], "out": shown(folder)}

    def work(tracker: Tracker) -> Mapping[str, Any]:
        report, known = make_report(results, slides)
        with atomic(folder / REPORT) as temporary:
            temporary.write_text(render(report), encoding="utf-8")
            size = temporary.stat().st_size
        tracker.log_artifact(folder / REPORT)
        return {"report": shown(folder / REPORT), **known, "bytes": size}

    params = {"results": ", ".join(plan["results"]), "slides": slides}
    return carry_out("report", out=folder, identity={}, plan=plan, params=params, store=store, work=work)


def make_report(results: Sequence[Facts], slides: int) -> tuple[Report, dict[str, Any]]:
    """Return the page of some results, and for the summary the number of slides that it shows and notes on what is missing."""
    stores, failed = _read_stores(results)
    chosen = choose_slides(results, stores, min(slides, max(1, _VIEWS // len(results))))
    seen = _look(results, stores, chosen, failed)
    evaluated = [each for each in results if each.evaluated]
    curves = [chart for chart in (*curve_charts(results), reliability_chart(results)) if chart is not None]
    training = training_charts(results)
    absent = {}
    if not evaluated:
        absent["headline"] = absent["predictions"] = (
            "None of these results is evaluated: `wsc-ray evaluate` measures a head on test slides."
        )
    if not training:
        absent["training"] = (
            "No training metrics are there: the encoder was not trained here, or has not logged a step yet."
        )
    if not seen.cards:
        absent["slides"] = "Attention needs an evaluated head and its features."
    if not seen.maps:
        absent["map"] = "There are no features to draw a map of."
    report = Report(
        title=f"wsc-ray report: {', '.join(each.name for each in results)}",
        made=f"Made {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} by wsc-ray {wsc_ray.__version__}.",
        results=[_result(each, seen.failed.get(each.name)) for each in results],
        compared=comparable(results),
        metrics=metric_table(results),
        intervals=interval_chart(results),
        training=training,
        curves=curves,
        cards=seen.cards,
        sampled=" ".join([_sampled(len(seen.cards), results), *seen.pictures]),
        maps=seen.maps,
        mapped=seen.mapped,
        absent={"headline": "", "predictions": "", "training": "", "slides": "", "map": "", **absent},
    )
    missing = [f"{each.name}: {sentence}" for each in results for sentence in each.missing]
    missing += [f"{name}: {reason}" for name, reason in seen.failed.items()]
    missing += seen.pictures
    return report, {"slides_shown": len(seen.cards), "notes": missing}


@dataclass
class _Seen:
    """The parts of the page that show slides and patches.

    Attributes:
        cards: the slides with attention.
        maps: the maps of each result's patches.
        mapped: a sentence on the patches of the maps.
        pictures: sentences on why some patches have no picture.
        failed: name of a result -> why its slides could not be read to the end.
    """

    cards: list[Card] = field(default_factory=list)
    maps: list[Chart] = field(default_factory=list)
    mapped: str = ""
    pictures: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def _read_stores(results: Sequence[Facts]) -> tuple[dict[str, Cohort], dict[str, str]]:
    """The slides of each result's features, and why those of some cannot be read; both by the names of results."""
    stores: dict[str, Cohort] = {}
    failed: dict[str, str] = {}
    for each in results:
        if each.parts.features is None:
            continue
        try:
            stores[each.name] = read_slides(each.parts.features)
        except UserError as error:
            failed[each.name] = f"its slides cannot be shown: {error}"
    return stores, failed


def _look(
    results: Sequence[Facts], stores: Mapping[str, Cohort], chosen: Sequence[str], failed: Mapping[str, str]
) -> _Seen:
    """Look at each chosen slide with every result that has not failed, one slide in memory at a time."""
    seen = _Seen(failed=dict(failed))
    if not chosen:
        return seen
    facts = {each.name: _slide_facts(each, stores.get(each.name)) for each in results}
    samplers = {each.name: Sampler(len(chosen), facts[each.name]) for each in results}
    originals = open_originals(results)
    patches = _PATCHES if len(results) == 1 else _PATCHES_OF_SEVERAL
    with Progress("looking at slides", len(chosen), unit="slides") as progress:
        for slide, looks in _together(results, chosen, seen.failed):
            for name, each in looks.items():
                samplers[name].add(each)
            attended = {name: each for name, each in looks.items() if each.attention is not None}
            if attended:
                site = next((known[SITE].get(slide) for known in facts.values() if SITE in known), None)
                seen.cards.append(make_card(slide, attended, results, originals, site=site, shown=patches))
            progress.advance(1)
    seen.pictures += _without_pictures(originals)
    count = 0
    for result in results:
        sample = samplers[result.name].sample()
        if sample is not None and result.name not in seen.failed:
            seen.maps += map_charts(result.name, sample)
            count = max(count, len(sample.features))
    seen.mapped = (
        f"Up to {count:,} patches of {len(chosen):,} slides, the same number of each, by the two first principal components of their "
        "features. Shares of nearest patches are measured in all dimensions."
    )
    return seen


def _together(
    results: Sequence[Facts], chosen: Sequence[str], failed: dict[str, str]
) -> Iterator[tuple[str, dict[str, Look]]]:
    """Yield each slide with the looks of all results, by the results' names; results that break off are added to `failed`."""
    looking = {each.name: look(each, chosen) for each in results}
    ahead: dict[str, Look | None] = dict.fromkeys(looking)
    for slide in chosen:
        found: dict[str, Look] = {}
        for name, looks in looking.items():
            try:
                if ahead[name] is None and name not in failed:
                    ahead[name] = next(looks, None)
            except UserError as error:
                failed[name] = str(error)
            one = ahead[name]
            if one is not None and one.slide == slide:
                found[name], ahead[name] = one, None
        yield slide, found


def _slide_facts(facts: Facts, cohort: Cohort | None) -> dict[str, dict[str, str | None]]:
    """Return the values that colour the map, by slide id: the site, and the label that was evaluated."""
    if cohort is None:
        return {}
    columns = [name for name in (SITE, LABEL) if name in cohort.columns]
    found = {name: dict(zip(cohort.ids, cohort.texts(name), strict=True)) for name in columns}
    if facts.predictions is not None:
        found[LABEL] = {**found.get(LABEL, {}), **facts.predictions.labels}
    return found


def _without_pictures(originals: Mapping[str, Originals]) -> list[str]:
    """Return sentences that say why patches of some results have no pictures."""
    names: dict[str, list[str]] = {}
    for name, each in originals.items():
        if each.problem:
            names.setdefault(each.problem, []).append(name)
    return [
        f"Some patches{'' if len(of) == len(originals) else ' of ' + ', '.join(of)} cannot be shown: {problem}."
        for problem, of in names.items()
    ]


def _result(facts: Facts, failed: str | None) -> ResultPage:
    return ResultPage(
        name=facts.name,
        tiles=headline(facts),
        measured=measured_sentence(facts),
        openings=openings_sentence(facts),
        notes=facts.evaluated.get("notes", []),
        missing=[*facts.missing, *([failed] if failed else [])],
        confusion=confusion(facts),
        lineage=lineage(facts),
        recipe=facts.recipe,
    )


def _sampled(cards: int, results: Sequence[Facts]) -> str:
    """Return a sentence on which slides are shown."""
    count = len({slide for each in results if each.predictions is not None for slide in each.predictions.slides})
    if cards >= count:
        return f"All {cards:,} test slides, the worst predicted first."
    return (
        f"{cards:,} of {count:,} test slides are shown, the worst predicted first: half of them are those that were predicted worst, and "
        "the others are spread evenly over the rest."
    )

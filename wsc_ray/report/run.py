"""The command: some results as one page, `report.html`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wsc_ray
from wsc_ray.files import atomic
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.report.answer_page import answer_page
from wsc_ray.report.cards import Card
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
from wsc_ray.report.looks import choose_slides
from wsc_ray.report.page import Report, ResultPage, render
from wsc_ray.report.places import find_results
from wsc_ray.report.predictive import curve_charts, interval_chart, reliability_chart
from wsc_ray.report.slides_seen import look_at_slides, read_stores
from wsc_ray.report.training import training_charts
from wsc_ray.stage import carry_out, claim_folder, open_store
from wsc_ray.storage import as_path
from wsc_ray.tracking import Tracker
from wsc_ray.uris import shown

REPORT = "report.html"
SLIDES = 100  # test slides to show at most
_VIEWS = 300  # largest number of slides times results


def write_report(*, runs: Sequence[str | Path], out: str | Path, slides: int = SLIDES) -> dict[str, Any]:
    """Write a report of results; the same call replaces it.

    Args:
        runs: run folders, folders of `evaluate` or `predict`, or feature stores.
        out: folder for `report.html`.
        slides: number of test slides and predicted slides to show at most; fewer with many results.

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
    stores, failed = read_stores(results)
    chosen = choose_slides(results, stores, min(slides, max(1, _VIEWS // len(results))))
    seen = look_at_slides(results, stores, chosen, failed)
    evaluated = [each for each in results if each.evaluated]
    curves = [chart for chart in (*curve_charts(results), reliability_chart(results)) if chart is not None]
    training = training_charts(results)
    absent = {}
    if not evaluated and not any(each.answers for each in results):
        absent["headline"] = absent["predictions"] = (
            "None of these results is evaluated: `wsc-ray evaluate` measures a head on test slides."
        )
    if not training:
        absent["training"] = (
            "No training metrics are there: the encoder was not trained here, or has not logged a step yet."
        )
    if not seen.cards:
        absent["slides"] = "Attention needs a prediction, or an evaluated head and its features."
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
        sampled=" ".join([_sampled(seen.cards, results), *seen.pictures]),
        maps=seen.maps,
        mapped=seen.mapped,
        absent={"headline": "", "predictions": "", "training": "", "slides": "", "map": "", **absent},
    )
    missing = [f"{each.name}: {sentence}" for each in results for sentence in each.missing]
    missing += [f"{name}: {reason}" for name, reason in seen.failed.items()]
    missing += seen.pictures
    return report, {"slides_shown": len(seen.cards), "notes": missing}


def _result(facts: Facts, failed: str | None) -> ResultPage:
    return ResultPage(
        name=facts.name,
        tiles=headline(facts),
        measured=measured_sentence(facts),
        openings=openings_sentence(facts),
        notes=(facts.asked or facts.evaluated).get("notes", []),
        missing=[*facts.missing, *([failed] if failed else [])],
        confusion=confusion(facts),
        lineage=lineage(facts),
        recipe=facts.recipe,
        answers=answer_page(facts.name, facts.answers) if facts.answers else None,
    )


def _sampled(cards: Sequence[Card], results: Sequence[Facts]) -> str:
    """Return a sentence on which slides are shown: the test slides, and the slides of predictions."""
    tested = {slide for each in results if each.predictions is not None for slide in each.predictions.slides}
    asked = {slide for each in results if each.answers is not None for slide in each.answers.predicted} - tested
    shown = [card.slide for card in cards]
    texts = (
        [_of_kind(sum(slide in tested for slide in shown), len(tested), "test slides", "the worst predicted")]
        if tested
        else []
    )
    texts += (
        [_of_kind(sum(slide in asked for slide in shown), len(asked), "predicted slides", "the most undecided")]
        if asked
        else []
    )
    return " ".join(texts)


def _of_kind(cards: int, count: int, what: str, first: str) -> str:
    if cards >= count:
        return f"All {cards:,} {what}, {first} first."
    return f"{cards:,} of {count:,} {what} are shown, {first} first: half of them are {first}, and the others are spread evenly over the rest."

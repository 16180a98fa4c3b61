"""What a report shows of slides and patches: every chosen slide as each result sees it, one slide in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wsc_ray.cohort.cohort import LABEL, SITE, Cohort
from wsc_ray.errors import UserError
from wsc_ray.features.store import read_slides
from wsc_ray.progress import Progress
from wsc_ray.report.cards import Card
from wsc_ray.report.charts import Chart
from wsc_ray.report.collect import Facts
from wsc_ray.report.looks import Look, look
from wsc_ray.report.originals import Originals, open_originals
from wsc_ray.report.patch_map import Sampler, map_charts
from wsc_ray.report.slide_cards import make_card

_PATCHES = 6  # patches with the highest attention of a slide, and as many with the lowest
_PATCHES_OF_SEVERAL = 4  # the same, if there are several results


@dataclass
class SlidesSeen:
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


def read_stores(results: Sequence[Facts]) -> tuple[dict[str, Cohort], dict[str, str]]:
    """Return the slides of each result's features, and why those of some cannot be read; both by the names of results."""
    stores: dict[str, Cohort] = {}
    failed: dict[str, str] = {}
    for each in results:
        if each.parts.features is None or (each.parts.prediction is not None and each.answers is None):
            continue  # without its answers, nothing of a prediction is shown
        try:
            stores[each.name] = read_slides(each.parts.features)
        except UserError as error:
            failed[each.name] = f"its slides cannot be shown: {error}"
    return stores, failed


def look_at_slides(
    results: Sequence[Facts], stores: Mapping[str, Cohort], chosen: Sequence[str], failed: Mapping[str, str]
) -> SlidesSeen:
    """Look at each chosen slide with every result that has not failed, one slide in memory at a time."""
    seen = SlidesSeen(failed=dict(failed))
    if not chosen:
        return seen
    facts = {each.name: _slide_facts(each, stores.get(each.name)) for each in results}
    samplers = {each.name: Sampler(len(chosen), facts[each.name]) for each in results}
    originals = open_originals(results)
    patches = _PATCHES if len(results) == 1 else _PATCHES_OF_SEVERAL
    with contextlib.ExitStack() as stack:
        for one in originals.values():
            stack.callback(one.close)
        progress = stack.enter_context(Progress("looking at slides", len(chosen), unit="slides"))
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
    wanted = (SITE,) if facts.parts.prediction is not None else (SITE, LABEL)  # a prediction is shown without labels
    columns = [name for name in wanted if name in cohort.columns]
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

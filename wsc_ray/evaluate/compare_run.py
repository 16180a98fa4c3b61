"""`wsc-ray evaluate --compare`: the metrics of several results for the same slides, and their differences."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsc_ray.describe import describe
from wsc_ray.errors import RecipeError
from wsc_ray.evaluate.compare import Difference, Pairing, compare, pair
from wsc_ray.evaluate.describe import metric_name
from wsc_ray.evaluate.ledger import cohort_of, counted, digest_of_slides, read_ledger
from wsc_ray.evaluate.predictions import find_predictions, read_predictions
from wsc_ray.files import atomic
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import carry_out, claim_folder, open_store, resolve_run
from wsc_ray.storage import AnyPath, as_path
from wsc_ray.tracking import Tracker
from wsc_ray.tracking_store import read_link
from wsc_ray.uris import shown

COMMAND = "evaluate --compare"
DIFFERENCES = "differences.csv"


def compare_results(
    *,
    results: Sequence[str | Path],
    out: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Compare predictions for the same slides, pair by pair.

    Args:
        results: run folders, folders of `evaluate`, or tables with `slide_id` and `prob_<label>`, and where known `label` and
            `patient_id`.
        out: the folder for the differences; None to write nothing.
        recipe, overrides: the recipe, of which `seed`, `evaluate` and `tracking` are used.
        dry_run: read and check everything, return the plan, and write nothing.

    Returns:
        The summary: `metrics` of each result and `differences`.

    Raises:
        UserError: see `wsc_ray.errors`; nothing has been written then.
    """
    _, recipe = resolve_run(None, recipe, overrides)
    names = [str(result) for result in results]
    if len(names) < 2 or len({_place(name) for name in names}) < len(names):
        raise RecipeError("evaluate", ["--compare: give two different results at least"])
    folder = None if out is None else as_path(out)
    if folder is not None:
        claim_folder(COMMAND, folder)
    pairing = pair([read_predictions(name) for name in names])
    order = recipe.evaluate.order
    if order is not None and sorted(order) != sorted(pairing.classes):
        raise RecipeError("recipe", [f"`evaluate.order`: order the labels {', '.join(pairing.classes)}"])
    settings = recipe.evaluate
    plan = _plan(pairing, folder, recipe)
    if dry_run:
        return plan
    metrics, differences = compare(
        pairing, samples=settings.bootstrap, confidence=settings.confidence, seed=recipe.seed, order=order
    )
    values = {
        "metrics": metrics,
        "differences": [asdict(difference) for difference in differences],
        "notes": _notes(pairing),
    }
    if folder is None:
        return {"command": COMMAND, **plan, **values}
    store = open_store(recipe.tracking.uri, recipe.tracking.experiment, folder)

    def work(tracker: Tracker) -> Mapping[str, Any]:
        _write(folder / DIFFERENCES, differences)
        tracker.log_artifact(folder / DIFFERENCES)
        return values

    params = {"results": ", ".join(names), "evaluate": settings.model_dump(mode="json")}
    # Existing results are replaced, so that there is no identity to compare.
    return carry_out(COMMAND, out=folder, identity={}, plan=plan, params=params, store=store, work=work)


def describe_comparison(summary: Mapping[str, Any], *, dry_run: bool = False) -> str:
    """Return a comparison as text: the results, then a table of the differences; or the plan of a dry run."""
    if "differences" not in summary:
        return describe({**summary, "results": [_described(result) for result in summary["results"]]}, dry_run=dry_run)
    positive = f" (positive: {summary['positive']})" if summary["positive"] else ""
    results = summary["results"]
    numbers = {result["name"]: f"#{number}" for number, result in enumerate(results, start=1)}
    lines = [f"compared  {summary['slides']} slides of {summary['patients']} patients{positive}"]
    for result in results:
        lines.append(f"{numbers[result['name']]}  {_described(result)}")
    draws = summary["bootstrap"]
    lines += ["", f"differences with {draws['confidence']:.0%} intervals from {draws['samples']:,} shared draws"]
    rows = [["", "", "first", "second", "difference", "interval", "p", "p (Holm)"]]
    for row in summary["differences"]:
        first, second = (summary["metrics"][row[key]][row["metric"]]["value"] for key in ("a", "b"))
        rows.append(
            [
                metric_name(row["metric"]),
                f"{numbers[row['a']]} - {numbers[row['b']]}",
                *(_shown(value, "") for value in (first, second)),
                _shown(row["value"], "+"),
                f"{_shown(row['low'], '+')} to {_shown(row['high'], '+')}",
                *(_shown(row[key], "") for key in ("p", "p_holm")),
            ]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines += ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *summary["notes"]]).rstrip()


def _described(result: Mapping[str, Any]) -> str:
    """Return a result's name, with the number of its members and of the openings of its slides."""
    opened = f", slides opened so far: {result['opened']}" if result["opened"] else ""
    return f"{result['name']} ({result['members']} member{'s' * (result['members'] > 1)}{opened})"


def _place(name: str) -> str:
    """Return the path of a result's predictions, the same for every way to write it."""
    path, _ = find_predictions(name)
    return str(path.resolve() if isinstance(path, Path) else path)


def _plan(pairing: Pairing, out: AnyPath | None, recipe: Recipe) -> dict[str, Any]:
    labels = [pairing.classes[label] for label in pairing.labels]
    slides = pa.table({"slide_id": pairing.slides, "patient_id": pairing.patients, "label": labels})
    return {
        "results": [
            {"name": result.name, "members": len(result.members), "opened": _opened(result.name, slides)}
            for result in pairing.results
        ],
        "out": None if out is None else shown(out),
        "classes": list(pairing.classes),
        "positive": pairing.classes[1] if len(pairing.classes) == 2 else None,
        "slides": len(pairing.slides),
        "patients": len(set(pairing.patients)),
        "bootstrap": {
            "samples": recipe.evaluate.bootstrap,
            "confidence": recipe.evaluate.confidence,
            "over": "patients and members",
        },
    }


def _opened(name: str, slides: pa.Table) -> int | None:
    """Return how often a run has opened these slides; None for a result that is no run."""
    path, run = find_predictions(name)
    if run is None:
        return None
    lines, link = read_ledger(run), read_link(path.parent)
    # The ledger counts slides without patches too, which have no prediction.
    cohort = cohort_of(lines, link["run_id"]) if link else None
    return counted(lines, cohort or digest_of_slides(slides))["opening"]


def _notes(pairing: Pairing) -> list[str]:
    notes = []
    if not pairing.known_patients:
        notes.append("no table names the patient of some slides: each of these counts as a patient of its own")
    single = [result.name for result in pairing.results if not result.members.drawn]
    if single:
        notes.append(f"one fit only in {', '.join(single)}: the intervals do not cover the choice of its seed")
    if len(pairing.classes) == 2:
        notes.append(
            "p of AUROC is DeLong's for slides that share patients, which ignores the choice of seeds; other p come from the draws"
        )
    return notes


def _write(path: AnyPath, differences: Sequence[Difference]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Difference)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(difference) for difference in differences)


def _shown(value: float | None, sign: str) -> str:
    return "-" if value is None else f"{value:{sign}.3f}"

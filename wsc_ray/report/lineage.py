"""The texts of a report: headline figures, how often the test slides were opened, and the lineage of a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsc_ray.evaluate.describe import metric_name
from wsc_ray.report.answer_page import measured, tiles
from wsc_ray.report.charts import Table
from wsc_ray.report.collect import Facts
from wsc_ray.report.predictive import interval_text
from wsc_ray.uris import shown

DIGEST = 12  # shown characters of a digest
TILES = ("auroc", "balanced_accuracy")


def headline(facts: Facts) -> list[tuple[str, str, str]]:
    """Return the figures at the head of the page: name, value, interval."""
    if facts.answers is not None:
        return tiles(facts.answers)
    metrics, found = facts.evaluated.get("metrics", {}), []
    for name in TILES:
        found += _tile(metric_name(name), metrics.get(name))
    per_patient = facts.evaluated.get("per_patient") or {}
    if per_patient.get("patients", 0) and per_patient["patients"] < facts.evaluated["slides"]:
        found += _tile("AUROC per patient", per_patient["metrics"].get("auroc"))
    found += _tile("calibration error", metrics.get("ece"))
    attention = facts.evaluated.get("attention") or {}
    found += _tile("attention finds positive patches (AUROC)", attention.get("auroc"))
    return found


def _tile(name: str, entry: Mapping[str, float | None] | None) -> list[tuple[str, str, str]]:
    if not entry or entry.get("value") is None:
        return []
    value, _, spread = interval_text(entry).partition(" ")
    return [(name[0].upper() + name[1:], value, spread.strip("()"))]


def metric_table(results: Sequence[Facts]) -> Table | None:
    """Return a table with every metric of every evaluated result; None without such results."""
    known = [each for each in results if each.evaluated.get("metrics")]
    if not known:
        return None
    names = list(dict.fromkeys(name for each in known for name in each.evaluated["metrics"]))
    rows = [
        [metric_name(name), *(interval_text(each.evaluated["metrics"].get(name, {})) for each in known)]
        for name in names
    ]
    for name in dict.fromkeys(name for each in known for name in _of_patients(each)):
        if name in ("auroc", "balanced_accuracy", "accuracy"):
            per = [interval_text(_of_patients(each).get(name, {})) for each in known]
            rows.append([f"{metric_name(name)}, per patient", *per])
    found = [(each.evaluated.get("attention") or {}).get("auroc", {}) for each in known]
    if any(found):
        rows.append(["attention AUROC", *map(interval_text, found)])
    return Table(("metric", *(each.name for each in known)), rows)


def _of_patients(facts: Facts) -> Mapping[str, Mapping[str, float | None]]:
    """Return the metrics per patient, which evaluations of earlier versions do not have."""
    per_patient = facts.evaluated.get("per_patient") or {}
    return per_patient.get("metrics", {})


def measured_sentence(facts: Facts) -> str | None:
    """Return a sentence with the slides behind the figures and the kind of intervals; None without an evaluation or a prediction."""
    each = facts.evaluated
    if facts.answers is not None:
        return measured(facts.answers, int(facts.asked.get("members", 1)))
    if not each:
        return None
    members, draws = each["members"]["count"], each["bootstrap"]
    positive = f", positive: {each['positive']}" if each.get("positive") else ""
    return (
        f"{each['slides']:,} slides of {each['patients']:,} patients ({each['where']}{positive}), "
        f"{members} member{'s' * (members != 1)}; {draws['confidence']:.0%} intervals from {draws['samples']:,} draws of {draws['over']}."
    )


def openings_sentence(facts: Facts) -> str | None:
    """Return a sentence on how often the test slides were opened, according to the whole ledger; None if it is empty."""
    lines = facts.openings
    if not lines:
        return None
    heads, cohorts = ({line.get(name) for line in lines} for name in ("head", "cohort"))
    repeats = sum(bool(line.get("repeat")) for line in lines)
    times = "once" if len(lines) == 1 else f"{len(lines)} times"
    text = f"Test slides were opened {times} for {_count(len(heads), 'head')}"
    if len(cohorts) > 1:
        text += f" and {len(cohorts)} sets of slides"
    if repeats:
        text += f"; {repeats} of these only repeated an earlier evaluation"
    return f"{text}. Last: {lines[-1].get('when', 'not known')}."


def comparable(results: Sequence[Facts]) -> str | None:
    """Return how far results may be compared: a warning if their slides differ; None with fewer than two evaluated results."""
    known = [each.predictions for each in results if each.predictions is not None]
    if len(known) < 2:
        return None
    if len({tuple(each.slides) for each in known}) > 1:
        return "These results were measured on different slides: their figures do not compare."
    return "Intervals of single results say little about a difference; `wsc-ray evaluate --compare` measures it on shared draws."


def confusion(facts: Facts) -> dict[str, Any] | None:
    """Return the confusion matrix, each count with its share of the row; None without an evaluation."""
    matrix, classes = facts.evaluated.get("confusion"), facts.classes
    if not matrix:
        return None
    rows = []
    for name, row in zip(classes, matrix, strict=True):
        total = sum(row)
        rows.append((name, [(count, count / total if total else 0.0) for count in row]))
    return {"run": facts.name, "classes": classes, "rows": rows}


def lineage(facts: Facts) -> list[tuple[str, str]]:
    """Return where a result comes from, as names and values; unknown ones are left out."""
    identity, trained = facts.identity, facts.trained
    manifest = identity.get("manifest") or {}
    opening = facts.openings[-1] if facts.openings else {}
    best = facts.tuned.get("best") or {}
    training = identity.get("training") or {}
    asked, fitted = facts.asked, (facts.head.embed if facts.head else {})
    rows: Iterable[tuple[str, Any]] = (
        ("folder", shown(facts.parts.place)),
        ("predicted from", asked.get("slides_from") or asked.get("manifest") or asked.get("features")),
        ("wsc-ray", asked.get("wsc_ray") or identity.get("wsc_ray") or facts.embedded_by.get("wsc_ray")),
        ("method", (training.get("loss") or {}).get("method") or trained.get("method")),
        ("backbone", trained.get("backbone") or facts.embedded.get("architecture")),
        ("steps", trained.get("steps_done")),
        ("workers", trained.get("workers")),
        ("seed", training.get("seed")),
        ("manifest", manifest.get("uri") or facts.embedded.get("manifest")),
        ("manifest digest", _digest(manifest.get("digest") or facts.embedded_by.get("manifest"))),
        ("cohort digest", _digest(identity.get("cohort"))),
        ("recipe digest", _digest(trained.get("recipe_digest"))),
        ("encoder digest", _digest(facts.embedded_by.get("encoder") or opening.get("encoder"))),
        ("features digest", _digest(opening.get("features"))),
        ("head fitted to features by", _digest(fitted.get("encoder"))),
        ("head fitted to patches of", f"{fitted['size']} px" if fitted.get("size") else None),
        ("head tuned on", facts.tuned.get("features") if asked else None),
        ("head folder", shown(facts.parts.head) if asked and facts.head and facts.parts.head else None),
        ("members", asked.get("members")),
        ("head", best.get("head")),
        ("setting", ", ".join(f"{key} {_short(value)}" for key, value in best.items() if key not in ("trial", "head"))),
        ("head digest", _digest(opening.get("head") or asked.get("head_digest"))),
        ("test slides digest", _digest(opening.get("cohort"))),
        ("registered model", (facts.tuned.get("registered") or {}).get("uri")),
        (
            "MLflow run",
            (asked.get("mlflow") or facts.evaluated.get("mlflow") or trained.get("mlflow") or {}).get("run_id"),
        ),
    )
    return [
        (name, f"{value:,}" if isinstance(value, int) and name == "steps" else str(value))
        for name, value in rows
        if value not in (None, "")
    ]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _digest(value: object) -> str | None:
    return value[:DIGEST] if isinstance(value, str) else None


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
